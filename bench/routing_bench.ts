/**
 * What comes before the experts: the router, and the sort of (token, slot) pairs by expert, alone
 * and with the rows copied to their places.
 *
 * @module
 */

import { invariant, tensor } from "../graph/mod.ts";
import { benchDevice, benchPipelines } from "./bench_device.ts";
import { consume, MoeContest } from "./moe_contest.ts";
import { type OpBench, registerOps } from "./op_bench.ts";
import { MOE_SHAPES, MOE_TWINS, type MoeShape } from "./shapes.ts";

const device = await benchDevice();
const { software } = device.profile;
const SHAPES = software ? MOE_TWINS : MOE_SHAPES;
const TOKENS = software ? [1, 16, 64] : [1, 16, 256, 4096];

function router({ name, hidden, experts, topK }: MoeShape, tokens: number): OpBench {
  return {
    group: `router ${name}, ${topK} of ${experts} experts, hidden ${hidden}`,
    name: `router ${name} T=${tokens}`,
    flops: 2 * tokens * experts * hidden,
    op: {
      sizes: { T: tokens, R: 1, S: 1, P: 1 },
      build: (b) =>
        b.node("moe_router", {
          x: b.input("x", { dtype: "f32", shape: ["T", hidden] }),
          w: b.weight("w", tensor("w", "bf16", [experts, hidden])),
          norm_weight: b.weight("norm", tensor("norm", "f32", [hidden])),
        }, {
          ...{ topK, scoring: "softmax", softmaxOver: "all", renormalize: true },
          ...{ scale: 1, normEps: 1e-6 },
        }).outputs[2],
    },
  };
}

await registerOps(SHAPES.flatMap((shape) => TOKENS.map((tokens) => router(shape, tokens))));

let current: { readonly shape: MoeShape; readonly contest: MoeContest } | undefined;

/** A layer with all backends; the one before gives its memory back. */
async function contestOf(shape: MoeShape, tokens: number): Promise<MoeContest> {
  if (current?.shape === shape) return current.contest;
  current?.contest.dispose();
  const layer = { shape, format: "bf16", tokens } as const;
  const contest = await MoeContest.open(device, layer, await benchPipelines());
  current = { shape, contest };
  return contest;
}

/** The sort is the first dispatch of the grouped algorithms. */
function registerSort(shape: MoeShape, tokens: number, backend: string): void {
  const what = backend === "triton" ? "align" : "permute";
  let rotation = 0;
  Deno.bench(`${what} ${shape.name} T=${tokens}`, {
    ...{ group: `sort ${shape.name}, T = ${tokens}`, n: 10, warmup: 2 },
  }, async (b) => {
    const { contestants, trial, readback } = await contestOf(shape, tokens);
    const found = contestants.find(({ name }) => name === backend)?.layer;
    invariant(found, `${backend} takes part`);
    const sort = { rotations: found.rotations.map(([first]) => [first]), dispatches: 1 };
    b.start();
    const result = await trial.run(sort, readback, rotation++);
    b.end();
    consume(result);
  });
}

for (const shape of SHAPES.slice(1, 3)) {
  const tokens = TOKENS[TOKENS.length - 1];
  for (const backend of ["triton", "trtllm"]) registerSort(shape, tokens, backend);
}
