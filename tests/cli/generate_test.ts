/**
 * `generate`: YAML to a script and back.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { pipeline } from "../../mod.ts";
import { ROOT } from "../support/root.ts";
import { slowTest } from "../support/quick.ts";

const YAML = `model: ${
  JSON.stringify(decodeURIComponent(new URL("demo/storyteller", ROOT).pathname))
}
executor: cpu
max_seq_len: 64
transforms:
  fuse_moe:
    backend: trtllm
    overrides:
      - match: "model.layers.0.*"
        backend: triton
  fuse_gemms:
    enabled: false
`;

async function command(name: string, folder: string, ...args: string[]) {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const flags: string[] = tasks[name].command.split(" ")
    .filter((word: string) => word.startsWith("--allow"));
  const main = decodeURIComponent(new URL("cli/main.ts", ROOT).pathname);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, main, name, ...args],
    cwd: folder,
    env: { NO_COLOR: "1" },
  }).output();
  const [output, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, output, errors };
}

slowTest(
  "generate writes a script that is formatted, commented and runs, and reads it back",
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "mixline generate " });
    try {
      await Deno.writeTextFile(join(folder, "p.yaml"), YAML);
      const made = await command("generate", folder, "p.yaml", "-o", "p.ts");
      assert.equal(made.code, 0, made.errors);
      const script = await Deno.readTextFile(join(folder, "p.ts"));
      assert.match(
        script,
        /^ {2}\/\/ Stack expert weights .*\n {2}\.fuseMoe\(\{ backend: "trtllm"/m,
      );
      const args = ["fmt", "--check", "--line-width=100", join(folder, "p.ts")];
      assert.equal((await new Deno.Command(Deno.execPath(), { args }).output()).code, 0);

      const ran = await command("run", folder, "p.ts", "Once upon a time");
      assert.equal(ran.code, 0, ran.errors);
      assert.match(ran.output, /\w/);

      const back = await command("generate", folder, "p.ts");
      assert.equal(back.code, 0, back.errors);
      assert.ok(pipeline.fromYaml(back.output).equals(pipeline.fromYaml(YAML)), back.output);

      const again = await command("generate", folder, "p.yaml", "-o", "p.ts");
      assert.equal(again.code, 2);
      assert.match(again.errors, /Cannot write file "p\.ts": expected no file there, got one/);

      await Deno.writeTextFile(join(folder, "other.ts"), "export const x = 1;");
      const other = await command("generate", folder, "other.ts");
      assert.equal(other.code, 2);
      assert.match(other.errors, /expected an export "deployment" that is a pipeline, got none/);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
