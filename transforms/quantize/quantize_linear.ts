/**
 * `quantize_linear`: quantizes dense linear layers of any checkpoint while they load. It runs after
 * the patterns are matched, when routers are no longer linear layers: rounding would change which
 * experts they choose.
 *
 * Before and after:
 * ```text
 * %1 = linear(x: x, w: @q_proj)
 * %1 = linear(x: x, w: @quantize<int8.payload>(q_proj), w_scale: @quantize<int8.scale>(q_proj))
 *      {format: int8, block: [1, 32]}
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  GraphBuilder,
  input,
  isOp,
  labelNode,
  type NearMiss,
  type Node,
  replaceNode,
} from "../../graph/mod.ts";
import { packedLinearInputs, packedOnLoad, weightOf } from "./packed_weights.ts";
import { isExcluded } from "./quantize_from_checkpoint.ts";
import { onLoadBlock, onLoadFields, refusalOnLoad, unusedPatterns } from "./quantize_on_load.ts";
import { defineTransform } from "../core/transform.ts";

/** What is left as it is by default. */
const LEFT_OUT = ["lm_head"];

/** See the module's documentation. */
export const quantizeLinear = defineTransform({
  key: "quantize_linear",
  stage: "pattern_matcher",
  summary: "Quantize dense linear layers while they load",
  base: {
    enabled: false,
    after: ["match_moe_pattern", "match_router_pattern", "quantize_moe"],
    expect_mem_change: true,
  },
  config: z.object({
    ...onLoadFields,
    exclude: z.array(z.string()).default(LEFT_OUT).describe(
      "Module paths to leave as they are; * stands for any characters",
    ),
  }),
  plan(graph, config) {
    const matches: Node<"linear">[] = [];
    const nearMisses: NearMiss[] = [];
    const layers = graph.nodes.filter((node) => isOp(node, "linear"));
    // Not every model has what is left out unasked.
    const written = config.exclude.filter((pattern) => !LEFT_OUT.includes(pattern));
    const refusals = unusedPatterns([config.layers, ...written], layers);
    for (const linear of layers) {
      const weight = input(linear, "w");
      const miss = !isExcluded(linear.scope, [config.layers])
        ? `layers "${config.layers}" leaves it out`
        : isExcluded(linear.scope, config.exclude)
        ? "its module is excluded"
        : linear.attrs.format !== undefined
        ? `it is ${linear.attrs.format} already`
        : refusalOnLoad(weight, config);
      if (miss) nearMisses.push({ node: labelNode(linear), reason: miss });
      else matches.push(linear);
    }
    return { matches, nearMisses, refusals };
  },
  apply(graph, plan, config) {
    for (const linear of plan.matches) {
      const current = graph.current(linear);
      const b = new GraphBuilder(graph, { scope: linear.scope, before: current });
      const packed = packedOnLoad(weightOf(input(linear, "w")), config.format, onLoadBlock(config));
      const { format, block } = packed;
      const inputs = { ...current.inputs, ...packedLinearInputs(b, linear, packed, false) };
      const attrs = { ...linear.attrs, format, ...(block && { block }) };
      replaceNode(graph, linear, b.op("linear", inputs, attrs));
    }
  },
});
