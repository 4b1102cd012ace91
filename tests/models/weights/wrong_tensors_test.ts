/**
 * Checkpoints of every golden model with a tensor that is missing, one too many, or one of another
 * shape: what is said names it, and the nearest name. Tensors whose names differ in numbers alone, of
 * layers and experts, are tried once.
 */

import assert from "node:assert/strict";
import { CheckpointError } from "../../../graph/mod.ts";
import {
  Checkpoint,
  findArchitecture,
  type Model,
  normalizeConfig,
  type TensorInfo,
} from "../../../models/mod.ts";
import { optimize } from "../../../transforms/mod.ts";
import { GOLDEN } from "../../support/golden_values.ts";
import { VERIFIED_MODELS } from "../../support/verified_models.ts";

type Tensors = ReadonlyMap<string, TensorInfo>;

async function openModel(name: string) {
  const folder = new URL(name, GOLDEN).pathname;
  const raw: unknown = JSON.parse(await Deno.readTextFile(`${folder}/config.json`));
  const config = normalizeConfig(raw, "config.json");
  const architecture = findArchitecture(config, "config.json");
  const configured = architecture.configure(config, "config.json");
  const checkpoint = await Checkpoint.open(folder);
  const { tensors } = checkpoint;
  await checkpoint.close();
  const modelOf = (changed: Tensors): Model => {
    const checkpoint = new Checkpoint("folder", changed, new Map());
    const build = () => configured.build(checkpoint);
    const known = { name, path: "folder", architecture, notes: [], bytes: 0 };
    return { ...known, config: configured.config, checkpoint, build } as Partial<Model> as Model;
  };
  return { tensors, modelOf };
}

/** One tensor of each kind: of names that differ in numbers, the last one. */
function kindsOf(tensors: Tensors): [string, TensorInfo][] {
  const kinds = new Map([...tensors].map((each) => [each[0].replace(/\d+/g, "#"), each] as const));
  return [...kinds.values()];
}

/** The error of building a model, which it must have. */
function refusalOf(model: Model, what: string): CheckpointError {
  try {
    model.build();
  } catch (error) {
    assert.ok(error instanceof CheckpointError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: `it was built with ${what}` });
}

/** What is said of the model's tensors while its weights are planned. */
async function warningsOf(model: Model): Promise<string[]> {
  const said: string[] = [];
  const steps = ["build_model", "export_to_gm", "load_weights"].map((key) => ({ key, config: {} }));
  const settings = { maxSeqLen: 64, maxBatchSize: 1, maxNumTokens: 64 };
  const log = (text: string) => void said.push(text);
  await optimize({ steps, context: { model, target: { executor: "cpu" }, settings, log } });
  return said;
}

/** The name with a letter changed near its end. */
function misspelled(name: string): string {
  const at = Math.max(name.lastIndexOf("_"), name.length - 3);
  return `${name.slice(0, at)}x${name.slice(at + 1)}`;
}

for (const name of Object.keys(VERIFIED_MODELS)) {
  Deno.test(`a wrong tensor in a checkpoint of ${name} is named with the nearest name`, async () => {
    const { tensors, modelOf } = await openModel(name);
    const kinds = kindsOf(tensors);
    for (const [wanted, info] of kinds) {
      const others = new Map(tensors);
      others.delete(wanted);
      const typo = misspelled(wanted);
      const missing = refusalOf(modelOf(new Map([...others, [typo, info]])), `${typo} alone`);
      assert.ok(missing.message.startsWith("Cannot find tensor "), missing.message);
      assert.ok(missing.message.includes(`"${wanted}"`), missing.message);
      assert.ok(missing.hint?.includes(`"${typo}"`), `${missing.message}: ${missing.hint}`);
      const shape = [...info.shape.slice(0, -1), (info.shape.at(-1) ?? 0) + 1];
      const bent = modelOf(new Map([...others, [wanted, { ...info, shape }]]));
      const refused = refusalOf(bent, `${wanted} [${shape}]`);
      assert.ok(refused.message.startsWith(`Cannot use tensor "${wanted}"`), refused.message);
      assert.ok(refused.message.endsWith(`got [${shape.join(", ")}]`), refused.message);
    }
    // Of one layer several would be counted, and named by the notes alone.
    const [like, info] = kinds[0];
    const [warning] = await warningsOf(modelOf(new Map([...tensors, [misspelled(like), info]])));
    assert.ok(warning.includes(`${misspelled(like)} (the nearest that is read: ${like})`), warning);
  });
}
