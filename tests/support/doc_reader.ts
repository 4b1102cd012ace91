/**
 * A reader of the documents: a folder with the files that they name, and a process that runs their
 * commands in it, on the CPU and on small inputs.
 *
 * @module
 */

import { join } from "node:path";
import { CliHost, type CliResult, runCli } from "./cli.ts";
import { makeModelFolder, STORYTELLER } from "./model_folder.ts";

/** What stands for a model of the reader's. */
const MODEL_PLACEHOLDER = /^(~\/models\/[\w.-]+|allenai\/[\w.-]+|DIR|x\.gguf)$/;

/** Short prompts and steps, for what would take minutes. */
const SHORT = ["--max-new-tokens", "2", "--set", "max_seq_len=64"];

/** See the module's documentation. */
export class DocReader implements AsyncDisposable {
  /** Where its commands run. */
  readonly folder: string;
  /** A model whose chat template reads `reasoning_effort`. */
  readonly model: string;
  readonly #host: CliHost;

  private constructor(folder: string, model: string) {
    this.folder = folder;
    this.model = model;
    this.#host = new CliHost(folder);
  }

  /** Makes the folder; `root` is that of the project. */
  static async open(root: string): Promise<DocReader> {
    const folder = await Deno.makeTempDir();
    await Deno.mkdir(join(folder, "graphs"));
    await Deno.symlink(join(root, "examples"), join(folder, "examples"));
    const yaml = `model: ${STORYTELLER}\ntransforms: { fuse_moe: { backend: triton } }\n`;
    await Deno.writeTextFile(join(folder, "my.yaml"), yaml);
    const script = `import { pipeline } from "file://${root}mod.ts";\nconsole.log(pipeline());\n`;
    await Deno.writeTextFile(join(folder, "mine.ts"), script);
    return new DocReader(folder, await modelWithEffort(folder));
  }

  /** The same command on small inputs: what is named after the reader's files is a file of the tests. */
  onSmallInputs(args: readonly string[]): string[] {
    const small = args.map((arg) => MODEL_PLACEHOLDER.test(arg) ? this.model : arg);
    const [command] = small;
    if (command === "serve" || small.includes("--serve")) return onAnyPort(small);
    if (command === "deploy") onFewTokens(small);
    if (command === "inspect" && small.includes("report")) onFewTokens(small, []);
    if (command === "generate" || command === "export") {
      const output = small.indexOf("-o") + 1;
      small[output] = join("graphs", small[output]);
    }
    if (command === "tune") smallTune(small);
    return small;
  }

  /** Runs a command line. */
  async run(args: readonly string[], env: Readonly<Record<string, string>>): Promise<CliResult> {
    // A script writes to the streams of the process that starts it.
    if (args[0] === "run") return await runCli(args, { cwd: this.folder, env });
    return await this.#host.run(args, env);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#host[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** The bundled model with a chat template that reads a variable, as gpt-oss' does. */
async function modelWithEffort(folder: string): Promise<string> {
  const config = JSON.parse(await Deno.readTextFile(join(STORYTELLER, "tokenizer_config.json")));
  const template = `{% if reasoning_effort %}{{ reasoning_effort }}{% endif %}`;
  const changed = JSON.stringify({ ...config, chat_template: template + config.chat_template });
  return await makeModelFolder(folder, { "tokenizer_config.json": changed });
}

function onAnyPort(args: string[]): string[] {
  const port = args.indexOf("--port");
  if (port >= 0) args.splice(port, 2);
  return [...args, "--port", "0"];
}

/** On the CPU, whatever the document says: shaders of a software device take long to compile. */
function onFewTokens(args: string[], short: readonly string[] = SHORT): void {
  // Dawn is not on a test machine: its flags are read, with the whole configuration.
  if (args.includes("dawn")) args.push("--dry-run");
  if (args.includes("--dry-run")) return;
  const executor = args.indexOf("--executor");
  if (executor >= 0) args[executor + 1] = "cpu";
  else args.push("--executor", "cpu");
  args.push(...short);
}

/** A layer of a few rows, one number of tokens, one candidate. */
function smallTune(args: string[]): void {
  const set = (flag: string, value: string) => {
    const place = args.indexOf(flag);
    if (place >= 0) args[place + 1] = value;
    else args.push(flag, value);
  };
  if (!args.includes("--model")) set("--shape", "32,16,4,2");
  set("--tokens", "1");
  set("--candidates", "1");
  set("--out", "graphs");
}
