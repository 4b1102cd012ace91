/**
 * The buffer in which the sort leaves its result for the grouped GEMMs: blocks in use, the expert
 * of every block, the (token, slot) pairs in sorted order, and for permuted rows the place of each
 * pair. All sizes are upper bounds known when the plan is made; unused blocks exit early.
 *
 * @module
 */

import type { ShaderConstants } from "../../compose.ts";
import type { Scratch } from "../../kernel.ts";
import type { MoeSpec } from "../spec.ts";
import type { GemmConfig } from "./config.ts";

/** Sizes and places within the buffer, in u32. */
export interface PlanBuffer {
  readonly scratch: Scratch;
  /** Most blocks there can be. */
  readonly maxBlocks: number;
  /** Most sorted positions, padding included. */
  readonly maxPositions: number;
  /** Workgroups that share the columns of an expert's rows while they are copied. */
  readonly slices: number;
  readonly constants: ShaderConstants;
}

/** Head of the buffer: the number of blocks in use, padded to 16 bytes. */
const HEAD = 4;

/** Most blocks that `pairs` pairs can need: a partial block for every expert that has some. */
export function mostBlocks(pairs: number, experts: number, blockM: number): number {
  const started = Math.min(experts, pairs);
  return started + Math.floor((pairs - started) / blockM);
}

/**
 * Tokens for which the buffer has places. Steps of fewer tokens use the places of the next of these
 * sizes, so that ranges of step sizes share their shaders and each is compiled once.
 */
const ROOMS = [32, 512] as const;

/** The buffer of a layer for its largest step. */
export function planBuffer(spec: MoeSpec, config: GemmConfig): PlanBuffer {
  const pairs = spec.tokens.max * spec.topK;
  const { blockM } = config;
  const maxBlocks = mostBlocks(pairs, spec.experts, blockM);
  const permuted = config.algorithm === "permuted";
  const slices = permuted ? Math.max(1, Math.min(8, Math.ceil(128 / spec.experts))) : 1;
  const room = (ROOMS.find((tokens) => spec.tokens.max <= tokens) ?? spec.tokens.max) * spec.topK;
  const blocks = mostBlocks(room, spec.experts, blockM);
  const planSize = HEAD + blocks + blocks * blockM;
  const words = slices * planSize + (permuted ? room : 0);
  return {
    scratch: { kind: "scratch", name: "moe_plan", bytes: words * 4 },
    maxBlocks,
    maxPositions: maxBlocks * blockM,
    slices,
    constants: {
      BLOCK_M: blockM,
      TOP_K: spec.topK,
      EXPERTS: spec.experts,
      PLAN_EXPERTS: HEAD,
      PLAN_PAIRS: HEAD + blocks,
      PLAN_SIZE: planSize,
      PLAN_POSITIONS: slices * planSize,
      PADDING: 0xffffffff,
    },
  };
}
