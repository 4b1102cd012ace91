/**
 * A MoE backend of one's own, with its WGSL beside it, and a plug-in: see docs/extending.md. Tests it
 * against the reference on the GPU, then tells a story. Run with
 * `deno run --allow-read --allow-env examples/05_own_backend.ts`.
 *
 * @module
 */

import {
  definePlugin,
  foldGrid,
  type MoeBackend,
  pipeline,
  testMoeBackend,
  usePlugin,
} from "../mod.ts";
import wgsl from "./05_own_backend.wgsl" with { type: "text" };

const plainLoop: MoeBackend = {
  name: "plain_loop",
  summary: "one invocation for each number, no sorting",
  supports(spec) {
    if (spec.format !== "bf16") return `reads bf16, not ${spec.format}`;
    if (spec.mlp !== "gated" || spec.activation !== "silu") return "knows gated silu experts alone";
    if (spec.biasUp || spec.biasDown) return "adds no biases";
    return spec.applyRoutingOnInput ? "weighs outputs, not inputs" : undefined;
  },
  compile(spec, values, note) {
    const { hidden, intermediate, experts, topK, profile } = spec;
    note("one invocation for each number");
    const made = {
      kind: "scratch",
      name: "plain_loop_made",
      bytes: 4 * spec.tokens.max * topK * intermediate,
    } as const;
    const dispatch = (part: "up" | "down", width: number) => ({
      kernel: `plain_loop_${part}`,
      wgsl,
      constants: {
        ...{ EXPERTS: experts, TOP_K: topK, HIDDEN: hidden, INTERMEDIATE: intermediate },
        ...{ DOWN: Number(part === "down"), RESIDUAL: Number(values.residual !== undefined) },
      },
      bindings: [
        { buffer: { kind: "step" }, access: "uniform" },
        { buffer: part === "up" ? values.x : made, access: "read" },
        { buffer: values.selectedExperts, access: "read" },
        { buffer: part === "up" ? values.wUp : values.wDown, access: "read" },
        { buffer: part === "up" ? made : values.output, access: "read_write" },
        { buffer: values.routingWeights, access: "read" },
        { buffer: values.residual ?? values.x, access: "read" },
      ],
      workgroups: ({ T }: { T: number }) =>
        foldGrid(Math.ceil((T * width) / 64), profile.maxWorkgroupsPerDimension),
    } as const);
    return [dispatch("up", topK * intermediate), dispatch("down", hidden)];
  },
};

const plugin = definePlugin({ moeBackends: [plainLoop] });
export default plugin;

declare module "../mod.ts" {
  interface MoeBackendTypes {
    plain_loop: true;
  }
}

async function main() {
  const rows = await testMoeBackend(plainLoop);
  const served = rows.flatMap(({ difference }) => difference ?? []);
  console.log(`${served.length} layers served, largest difference ${Math.max(...served)}`);
  usePlugin(plugin);
  const own = pipeline().fuseMoe({ backend: "plain_loop" });
  await using engine = await own.deploy({ model: "demo/storyteller", executor: "webgpu" });
  console.log(
    await engine.generate("Once upon a time", { maxNewTokens: 16, temperature: 0 }).text(),
  );
}

if (import.meta.main) main();
