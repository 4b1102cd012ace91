/**
 * `quantize_moe`: quantizes the experts of any checkpoint while they load, so that a model fits half
 * or a quarter of the memory. Weights stream from the file through the quantizer; the plain form is
 * never held in memory.
 *
 * Before and after:
 * ```text
 * %1 = moe(.., w1: [@e.0, @e.1], ..) {mlp: gated, ..}
 * %1 = moe(.., w1: [@quantize<int4.payload>(e.0), ..], w1_scale: [@quantize<int4.scale>(e.0), ..], ..)
 *      {mlp: gated, .., format: int4, block: [1, 32], activationQuant: none}
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  GraphBuilder,
  inputList,
  isOp,
  labelNode,
  type NearMiss,
  type Node,
  replaceNode,
} from "../../graph/mod.ts";
import { onLoadBlock, onLoadFields, refusalOnLoad, unusedPatterns } from "./quantize_on_load.ts";
import { isExcluded } from "./quantize_from_checkpoint.ts";
import {
  EXPERT_MATRICES,
  packedExpertAttrs,
  packedExpertInputs,
  packedOnLoad,
  weightOf,
} from "./packed_weights.ts";
import { defineTransform, type Refusal } from "../core/transform.ts";

/** See the module's documentation. */
export const quantizeMoe = defineTransform({
  key: "quantize_moe",
  stage: "pattern_matcher",
  summary: "Quantize experts while they load",
  base: { enabled: false, after: ["match_moe_pattern"], expect_mem_change: true },
  config: z.object(onLoadFields),
  plan(graph, config) {
    const matches: Node<"moe">[] = [];
    const nearMisses: NearMiss[] = [];
    const layers = graph.nodes.filter((node) => isOp(node, "moe"));
    const refusals: Refusal[] = unusedPatterns([config.layers], layers);
    for (const moe of layers) {
      const weights = EXPERT_MATRICES.flatMap((name) => inputList(moe, name));
      if (!isExcluded(moe.scope, [config.layers])) {
        nearMisses.push({
          node: labelNode(moe),
          reason: `layers "${config.layers}" leaves it out`,
        });
      } else if (moe.attrs.format !== undefined) {
        nearMisses.push({ node: labelNode(moe), reason: `it is ${moe.attrs.format} already` });
      } else {
        const reason = weights.map((value) => refusalOnLoad(value, config)).find((each) => each);
        if (reason) refusals.push({ node: labelNode(moe), reason });
        else matches.push(moe);
      }
    }
    return { matches, nearMisses, refusals };
  },
  apply(graph, plan, config) {
    for (const moe of plan.matches) {
      const current = graph.current(moe);
      const b = new GraphBuilder(graph, { scope: moe.scope, before: current });
      const [w1, w2, w3] = EXPERT_MATRICES.map((name) =>
        inputList(moe, name).map((value) =>
          packedOnLoad(weightOf(value), config.format, onLoadBlock(config))
        )
      );
      const experts = { w1, w2, w3 };
      const inputs = { ...current.inputs, ...packedExpertInputs(b, moe, experts, false) };
      const attrs = {
        ...moe.attrs,
        ...packedExpertAttrs(experts),
        activationQuant: "none",
      } as const;
      replaceNode(graph, moe, b.op("moe", inputs, attrs));
    }
  },
});
