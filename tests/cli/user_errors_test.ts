/**
 * Mistakes that users make, through the real command line: each has its exit code, its words, and
 * no stack trace.
 *
 * @module
 */

import assert from "node:assert/strict";
import { runCli } from "../support/cli.ts";
import {
  changedConfig,
  makeModelFolder,
  reshapedWeights,
  STORYTELLER,
  truncatedWeights,
} from "../support/model_folder.ts";

/** One mistake. `%` in arguments stands for the case's temporary folder. */
interface Case {
  readonly mistake: string;
  readonly args: readonly string[];
  readonly code: number;
  /** What stderr must say. */
  readonly says: readonly (string | RegExp)[];
  /** `config.yaml` in the temporary folder. */
  readonly yaml?: string;
  /** Makes what `args` needs besides. */
  readonly prepare?: (folder: string) => Promise<unknown>;
}

const CONFIG = ["deploy", "--config", "%/config.yaml", "--model", STORYTELLER, "--dry-run"];
const GENERATE = ["--prompt", "Once", "--max-new-tokens", "1", "--executor", "cpu"];

const CASES: readonly Case[] = [
  {
    mistake: "a misspelt backend in a YAML file",
    args: CONFIG,
    yaml: "transforms:\n  fuse_moe:\n    backend: tritn\n",
    code: 2,
    says: [/config\.yaml:3:14/, "auto, triton, trtllm or reference", 'Did you mean "triton"?'],
  },
  {
    mistake: "an unknown transform",
    args: CONFIG,
    yaml: "transforms:\n  fuse_moo:\n    backend: triton\n",
    code: 2,
    says: [/config\.yaml:2:3/, '"fuse_moo"', 'Did you mean "fuse_moe"?'],
  },
  {
    mistake: "an unknown field of a transform",
    args: CONFIG,
    yaml: "transforms:\n  fuse_moe:\n    enabled: true\n    bakend: triton\n",
    code: 2,
    says: [/config\.yaml:4:5/, '"bakend"', 'Did you mean "backend"?'],
  },
  {
    mistake: "a value of the wrong type",
    args: CONFIG,
    yaml: "max_seq_len: 64\ntransforms:\n  fuse_moe:\n    enabled: 7\n",
    code: 2,
    says: [/config\.yaml:4:14/, "enabled", "expected true or false, got 7"],
  },
  {
    mistake: "an unknown setting",
    args: CONFIG,
    yaml: "max_seq_length: 64\n",
    code: 2,
    says: [/config\.yaml:1:1/, '"max_seq_length"', 'Did you mean "max_seq_len"?'],
  },
  {
    mistake: "YAML that does not parse",
    args: CONFIG,
    yaml: "transforms:\n  fuse_moe: {backend: triton\n",
    code: 2,
    says: [/config\.yaml:\d+:\d+/],
  },
  {
    mistake: "a configuration file that is not there",
    args: ["deploy", "--config", "%/no_such.yaml"],
    code: 2,
    says: ["no_such.yaml"],
  },
  {
    mistake: "--set without a value",
    args: ["deploy", "--dry-run", "--set", "transforms.fuse_moe.backend"],
    code: 2,
    says: ["--set", "transforms.fuse_moe.backend"],
  },
  {
    mistake: "--set of an unknown backend",
    args: ["deploy", "--dry-run", "--set", "transforms.fuse-moe.backend=trt"],
    code: 2,
    says: ["--set", '"trt"', 'Did you mean "trtllm"?'],
  },
  {
    mistake: "an unknown flag",
    args: ["deploy", "--modle", "x"],
    code: 2,
    says: ['"--modle"', 'Did you mean "--model"?'],
  },
  {
    mistake: "a flag of another command",
    args: ["deploy", "--port", "8000"],
    code: 2,
    says: ['Cannot find flag "--port"', "such as serve"],
  },
  {
    mistake: "a part of a flag, misspelt",
    args: ["deploy", "--max-tokenz", "5"],
    code: 2,
    says: ['"--max-tokenz"', 'Did you mean "--max-new-tokens"?'],
  },
  {
    mistake: "an unknown command",
    args: ["deplyo"],
    code: 2,
    says: ['"deplyo"', 'Did you mean "deploy"?'],
  },
  {
    mistake: "a flag without its value",
    args: ["deploy", "--model"],
    code: 2,
    says: ['"--model"', "expected a value"],
  },
  {
    mistake: "an executor that does not exist",
    args: ["deploy", "--executor", "cuda"],
    code: 2,
    says: ['"--executor"', 'expected one of auto, webgpu, cpu, got "cuda"'],
  },
  {
    mistake: "a subject of inspect that does not exist",
    args: ["inspect", "grahp"],
    code: 2,
    says: ['"subject"', 'got "grahp"', 'Did you mean "graph"?'],
  },
  {
    mistake: "words that are no number",
    args: ["deploy", "--temperature", "hot"],
    code: 2,
    says: ['"--temperature"', 'expected a number, got "hot"'],
  },
  {
    mistake: "a prompt without quotes",
    args: ["deploy", "--prompt", "Once", "upon", "a", "time"],
    code: 2,
    says: ["expected flags alone, got upon, a, time", "Quote"],
  },
  {
    mistake: "a model without its flag",
    args: ["inspect", "model", "models/mine"],
    code: 2,
    says: ["expected flags alone behind model, got models/mine", "--model models/mine"],
  },
  {
    mistake: "a command behind its flags",
    args: ["--quiet", "inspect"],
    code: 2,
    says: ["got inspect", "Write the command in front of its flags: inspect"],
  },
  {
    mistake: "a folder in place of a configuration",
    args: ["deploy", "--config", "%"],
    code: 2,
    says: ["expected a file, got a folder"],
  },
  {
    mistake: "a seed beyond 32 bits",
    args: ["deploy", "--seed", "4294967296"],
    code: 2,
    says: ['"--seed"', "from 0 to 4294967295, got"],
  },
  {
    mistake: "a file of keys that is not there",
    args: ["serve", "--api-key-file", "%/keys"],
    code: 2,
    says: ["Cannot read API keys", "expected a file, got none", "openssl rand"],
  },
  {
    mistake: "a probability above 1",
    // Found before the model is opened.
    args: ["deploy", "--model", "%/none", ...GENERATE, "--top-p", "1.5"],
    code: 2,
    says: ['"--top-p"', "at most 1", "1.5"],
  },
  {
    mistake: "more tokens than the model has room for",
    args: ["deploy", "--model", STORYTELLER, "--executor", "cpu", "--max-new-tokens", "99999"],
    code: 2,
    says: ["99999", "max_seq_len", /^hint: Lower --max-new-tokens/m],
  },
  {
    mistake: "a model folder that is not there",
    args: ["deploy", "--model", "%/no_such_model"],
    code: 3,
    says: ["no_such_model"],
  },
  {
    mistake: "a config.json with no experts",
    args: ["deploy", "--model", "%/model", ...GENERATE],
    prepare: async (folder) =>
      await model(folder, { "config.json": await changedConfig((c) => c.num_experts = 0) }),
    code: 3,
    says: ["config.json", "num_experts"],
  },
  {
    mistake: "an architecture that is not known",
    args: ["deploy", "--model", "%/model", ...GENERATE],
    prepare: async (folder) =>
      await model(folder, {
        "config.json": await changedConfig((c) => c.architectures = ["Qwen3MeoForCausalLM"]),
      }),
    code: 3,
    says: ["got Qwen3MeoForCausalLM", /^hint: .*Qwen3MoeForCausalLM/m],
  },
  {
    mistake: "a truncated shard",
    args: ["deploy", "--model", "%/model", ...GENERATE],
    prepare: async (folder) =>
      await model(folder, { "model.safetensors": await truncatedWeights(1_000_000) }),
    code: 3,
    says: ["model.safetensors", /14,?891,?120/, /1,?000,?000/],
  },
  {
    mistake: "a tensor with the wrong shape",
    args: ["deploy", "--model", "%/model", ...GENERATE],
    prepare: async (folder) =>
      await model(folder, {
        "model.safetensors": await reshapedWeights("model.layers.0.mlp.gate.weight", [256, 16]),
      }),
    code: 3,
    says: ["model.layers.0.mlp.gate.weight", /16, ?256/, /256, ?16/],
  },
  {
    mistake: "a missing tokenizer",
    args: ["deploy", "--model", "%/model", ...GENERATE],
    prepare: async (folder) => await model(folder, { "tokenizer.json": null }),
    code: 3,
    says: ["tokenizer.json"],
  },
];

/** Puts a changed copy of the bundled model at `model` in the case's folder. */
async function model(
  folder: string,
  changes: Parameters<typeof makeModelFolder>[1],
): Promise<void> {
  await Deno.rename(await makeModelFolder(folder, changes), `${folder}/model`);
}

for (const { mistake, args, code, says, yaml, prepare } of CASES) {
  Deno.test(`main() explains ${mistake} and exits with ${code}`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "mixline_" });
    try {
      if (yaml !== undefined) await Deno.writeTextFile(`${folder}/config.yaml`, yaml);
      await prepare?.(folder);
      const result = await runCli(args.map((arg) => arg.replace("%", folder)));
      for (const text of says) {
        const holds = typeof text === "string"
          ? result.stderr.includes(text)
          : text.test(result.stderr);
        assert.ok(holds, `expected ${text} in:\n${result.stderr}`);
      }
      assert.doesNotMatch(result.stderr, /^\s+at .*:\d+:\d+\)?$/m, "a stack trace");
      assert.doesNotMatch(result.stderr, /this is a bug/);
      assert.equal(result.stdout, "");
      assert.equal(result.code, code, result.stderr);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

/** Empty texts where a command takes a name, and what is said of each. */
const EMPTY: readonly (readonly [args: readonly string[], says: string])[] = [
  [["serve", "--host", ""], 'flag "--host": expected an address'],
  [["serve", "--api-key", "a", "--api-key", ""], 'flag "--api-key": expected a key'],
  [["deploy", "--config", ""], 'flag "--config": expected a file'],
  [["deploy", "--prompt-file", ""], 'flag "--prompt-file": expected a file'],
  [["inspect", "report", "--out", " "], 'flag "--out": expected a folder'],
  [["tune", "--out", ""], 'flag "--out": expected a folder'],
  [["run", ""], 'argument "script": expected a file'],
  [["generate", ""], 'argument "source": expected a file'],
  [["generate", "a.yaml", "-o", ""], 'flag "--output": expected a file'],
  [["export", "", "-o", "d", "--target", "trtllm"], 'argument "config": expected a file'],
  [["export", "a.yaml", "-o", "", "--target", "trtllm"], 'flag "--output": expected a folder'],
];

Deno.test("main() refuses an empty text where a command takes a name", async () => {
  for (const [args, says] of EMPTY) {
    const { code, stdout, stderr } = await runCli(args);
    assert.ok(stderr.startsWith(`error: Cannot read ${says}, got "`), `${args}: ${stderr}`);
    assert.deepEqual([code, stdout], [2, ""]);
  }
});

Deno.test("main() gives an error as JSON on stdout when --json is given", async () => {
  const result = await runCli(["deploy", "--json", "--modle", "x"]);
  const { error } = JSON.parse(result.stdout);
  assert.equal(error.code, "cli/unknown-flag");
  assert.equal(error.exitCode, 2);
  assert.equal(error.hint, 'Did you mean "--model"?');
  assert.equal(result.code, 2);
});

Deno.test("main() shows the stack trace of an error when --debug is given", async () => {
  const result = await runCli(["deploy", "--debug", "--model", "/no/such/model"]);
  assert.match(result.stderr, /^\s+at .*:\d+:\d+\)?$/m);
  assert.equal(result.code, 3);
});
