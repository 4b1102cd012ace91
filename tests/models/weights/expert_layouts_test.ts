/** One model in the layouts of several exporters: the same logits from each. */

import assert from "node:assert/strict";
import { f32ToBf16 } from "../../../graph/mod.ts";
import { openBareModel } from "../../support/bare_model.ts";
import { plainMatrix, PROMPT, tensorOf, writeDialectModel } from "../../support/dialect_model.ts";
import { logitsOf } from "../../support/language_model.ts";
import { fusedLayers, packedGraph } from "../../support/quantized_models.ts";
import { readSafetensors } from "../../support/safetensors.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";
import { encodeSafetensors, type TensorToWrite } from "../../support/write_safetensors.ts";

const EXPERTS = 5;
const MLP = "model.layers.0.mlp";

interface Experts {
  /** Values of a projection of an expert, row by row. */
  matrix(expert: number, projection: "gate" | "up" | "down"): Float32Array<ArrayBuffer>;
  readonly hidden: number;
  readonly intermediate: number;
}

/** Tensors in place of the experts of the plain model. */
type Layout = (experts: Experts) => Record<string, TensorToWrite>;

function turned(values: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]);
}

function joined(parts: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

const indices = Array.from({ length: EXPERTS }, (_, e) => e);

const stacked: Layout = ({ matrix, hidden, intermediate }) => ({
  [`${MLP}.experts.gate_up_proj`]: tensorOf(
    "F32",
    [EXPERTS, 2 * intermediate, hidden],
    joined(indices.flatMap((e) => [matrix(e, "gate"), matrix(e, "up")])),
  ),
  [`${MLP}.experts.down_proj`]: tensorOf(
    "F32",
    [EXPERTS, hidden, intermediate],
    joined(indices.map((e) => matrix(e, "down"))),
  ),
});

const transposed: Layout = ({ matrix, hidden, intermediate }) => ({
  [`${MLP}.experts.gate_up_proj`]: tensorOf(
    "F32",
    [EXPERTS, hidden, 2 * intermediate],
    joined(indices.map((e) => {
      const rows = joined([matrix(e, "gate"), matrix(e, "up")]);
      return turned(rows, 2 * intermediate, hidden);
    })),
  ),
  [`${MLP}.experts.down_proj`]: tensorOf(
    "F32",
    [EXPERTS, intermediate, hidden],
    joined(indices.map((e) => turned(matrix(e, "down"), hidden, intermediate))),
  ),
});

/** Every second expert in bf16, the last one in f16. */
const mixed: Layout = ({ matrix, hidden, intermediate }) =>
  Object.fromEntries(indices.flatMap((e) =>
    (["gate", "up", "down"] as const).map((name) => {
      const values = matrix(e, name);
      const shape = name === "down" ? [hidden, intermediate] : [intermediate, hidden];
      const tensor = e === EXPERTS - 1
        ? tensorOf("F16", shape, new Float16Array(values))
        : e % 2 === 1
        ? tensorOf("BF16", shape, Uint16Array.from(values, f32ToBf16))
        : tensorOf("F32", shape, values);
      return [`${MLP}.experts.${e}.${name}_proj.weight`, tensor];
    })
  ));

async function logitsIn(layout: Layout, sizes: { hidden: number; intermediate: number }) {
  const root = await Deno.makeTempDir();
  const folders = { packed: `${root}/packed`, plain: `${root}/plain` };
  try {
    for (const folder of Object.values(folders)) await Deno.mkdir(folder);
    // Numbers that bf16 and f16 hold exactly.
    await writeDialectModel(folders, sizes, {}, (random, rows, columns, module) => {
      const matrix = plainMatrix(random, rows, columns);
      const values = matrix.values.map((value) => Math.round(value * 128) / 128);
      return module.includes("experts")
        ? { tensors: { weight: tensorOf("F32", [rows, columns], values) }, values }
        : matrix;
    });
    const read = await readSafetensors(new URL(`file://${folders.plain}/model.safetensors`));
    const tensors: Record<string, TensorToWrite> = {};
    for (const [name, { shape, data }] of read) {
      if (!name.includes(".experts.")) tensors[name] = tensorOf("F32", shape, data);
    }
    const matrix: Experts["matrix"] = (e, name) => {
      const data = read.get(`${MLP}.experts.${e}.${name}_proj.weight`)?.data;
      assert.ok(data instanceof Float32Array);
      return data;
    };
    Object.assign(tensors, layout({ matrix, ...sizes }));
    await Deno.writeFile(`${folders.packed}/model.safetensors`, encodeSafetensors(tensors));
    const logits = await Promise.all(
      Object.values(folders).map(async (folder) => {
        const model = await openBareModel(folder);
        try {
          const { graph } = await packedGraph(model);
          assert.equal(fusedLayers(graph).length, 1);
          return await logitsOf(graph, model.checkpoint, PROMPT);
        } finally {
          await model.checkpoint.close();
        }
      }),
    );
    return relativeError(logits[0], logits[1]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const LAYOUTS: readonly (readonly [string, Layout])[] = [
  ["stacks of rows", stacked],
  ["transposed stacks", transposed],
  ["experts of several types", mixed],
];

for (const [name, layout] of LAYOUTS) {
  // In the second and third sizes one of the stacks is square.
  for (const [hidden, intermediate] of [[40, 24], [48, 24], [24, 24]]) {
    Deno.test(`${name} of ${hidden} x ${intermediate} are read as one matrix each`, async () => {
      const error = await logitsIn(layout, { hidden, intermediate });
      assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
    });
  }
}
