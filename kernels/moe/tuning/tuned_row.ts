/**
 * One configuration as tuned tables spell it: vLLM's fields for grouped GEMMs, and ours.
 *
 * @module
 */

import { z } from "../../../deps/zod.ts";
import type { RowResult } from "../../tuned_table.ts";
import { type GemmTile, type MoeConfig, type Staging, STAGINGS } from "../algorithms/config.ts";

/** A whole number above 0, with what it means. */
function count(meaning: string) {
  return z.int().positive().describe(meaning);
}

const GEMM_FIELDS = {
  BLOCK_SIZE_N: count(
    "weight rows of a workgroup; a gated expert makes half as many outputs of them",
  ),
  BLOCK_SIZE_K: count("elements of a row between two barriers"),
  GROUP_SIZE_M: count("blocks of rows that are taken together while the columns go by"),
  THREAD_M: count("rows of which an invocation has sums; by the threads when absent").optional(),
  THREAD_N: count("weight rows of which it has sums; by the threads when absent").optional(),
  LANES: count("invocations that share a weight row; 1 when absent, more with `rows` only")
    .optional(),
  STAGING: z.enum(STAGINGS)
    .describe(
      "what goes through workgroup memory: both operands (when absent), rows of x, or none; matrices: both, for tensor cores",
    )
    .optional(),
};

/** vLLM's fields, our thread tile, and a tile of its own for the down projection. */
const gemmRow = z.strictObject({
  ALGORITHM: z.enum(["grouped", "permuted"]).default("grouped")
    .describe("rows gathered while the GEMM loads them (when absent), or copied into order first"),
  BLOCK_SIZE_M: count("rows of a block, all of one expert"),
  ...GEMM_FIELDS,
  DOWN: z.strictObject(GEMM_FIELDS)
    .describe("tile of the down projection; that of the first product when absent").optional(),
  num_warps: count("32 invocations each; chooses the thread tile where none is given").optional(),
  num_stages: count("Triton's; read and ignored, as WGSL has no asynchronous copies").optional(),
});

const VALUES = count("weight rows of a group of lanes: 4, 8, .. 32");
const UNROLL = count("words of each row in flight");

const slotRow = z.strictObject({
  ALGORITHM: z.literal("slots").describe("one (token, slot) after the other"),
  LANES: count("invocations that share a weight row: a power of two from 8"),
  UP: z.strictObject({ VALUES, UNROLL, GROUPS: count("groups of lanes of a workgroup") }),
  DOWN: z.strictObject({
    VALUES,
    UNROLL,
    GROUPS: count("groups of lanes that share the slots of a token"),
  }),
});

const expertRow = z.strictObject({
  ALGORITHM: z.literal("experts").describe("one expert after the other"),
  LANES: count("invocations that share a weight row: a power of two from 8"),
  COLUMNS: count("pairs that share a weight while it is in registers"),
  UP: z.strictObject({ VALUES }),
  DOWN: z.strictObject({ VALUES, GROUPS: count("groups of lanes that share the experts") }),
});

const ROWS = { grouped: gemmRow, permuted: gemmRow, slots: slotRow, experts: expertRow };

/** The schemas of rows, by what a page calls them. */
export const TUNED_ROWS = {
  "grouped, permuted": gemmRow,
  slots: slotRow,
  experts: expertRow,
} as const;

/** One configuration as a file spells it. */
export type TunedRow = z.input<typeof gemmRow> | z.infer<typeof slotRow | typeof expertRow>;

/** Reads a row; what the device can run of it is not asked here. */
export function parseTunedRow(row: unknown): RowResult<MoeConfig> {
  const named = z.object({ ALGORITHM: z.enum(["grouped", "permuted", "slots", "experts"]) })
    .partial().safeParse(row);
  if (!named.success) return named;
  const result = ROWS[named.data.ALGORITHM ?? "grouped"].safeParse(row);
  return result.success ? { success: true, row: configOf(result.data) } : result;
}

function configOf(data: z.output<typeof gemmRow | typeof slotRow | typeof expertRow>): MoeConfig {
  switch (data.ALGORITHM) {
    case "slots":
      return {
        algorithm: "slots",
        lanes: data.LANES,
        up: { values: data.UP.VALUES, unroll: data.UP.UNROLL, groups: data.UP.GROUPS },
        down: { values: data.DOWN.VALUES, unroll: data.DOWN.UNROLL, groups: data.DOWN.GROUPS },
      };
    case "experts":
      return {
        algorithm: "experts",
        lanes: data.LANES,
        columns: data.COLUMNS,
        up: { values: data.UP.VALUES },
        down: { values: data.DOWN.VALUES, groups: data.DOWN.GROUPS },
      };
    default: {
      const threads = 32 * (data.num_warps ?? 8);
      const blockM = data.BLOCK_SIZE_M;
      return {
        algorithm: data.ALGORITHM,
        blockM,
        up: gemmTile(blockM, data, threads),
        down: gemmTile(blockM, data.DOWN ?? data, threads),
      };
    }
  }
}

/** A configuration as files spell it: what {@linkcode parseTunedRow} reads back. */
export function tunedRow(config: MoeConfig): TunedRow {
  switch (config.algorithm) {
    case "slots": {
      const spell = (
        { values, unroll, groups }: { values: number; unroll: number; groups: number },
      ) => ({
        VALUES: values,
        UNROLL: unroll,
        GROUPS: groups,
      });
      return {
        ALGORITHM: "slots",
        LANES: config.lanes,
        UP: spell(config.up),
        DOWN: spell(config.down),
      };
    }
    case "experts":
      return {
        ALGORITHM: "experts",
        LANES: config.lanes,
        COLUMNS: config.columns,
        UP: { VALUES: config.up.values },
        DOWN: { VALUES: config.down.values, GROUPS: config.down.groups },
      };
    default:
      return {
        ALGORITHM: config.algorithm,
        BLOCK_SIZE_M: config.blockM,
        ...spellTile(config.up),
        DOWN: spellTile(config.down),
      };
  }
}

function spellTile({ blockN, blockK, groupM, threadM, threadN, lanes, staging }: GemmTile) {
  return {
    BLOCK_SIZE_N: blockN,
    BLOCK_SIZE_K: blockK,
    GROUP_SIZE_M: groupM,
    THREAD_M: threadM,
    THREAD_N: threadN,
    ...(lanes === 1 ? {} : { LANES: lanes }),
    ...(staging === "both" ? {} : { STAGING: staging }),
  };
}

interface TileFields {
  readonly BLOCK_SIZE_N: number;
  readonly BLOCK_SIZE_K: number;
  readonly GROUP_SIZE_M: number;
  readonly THREAD_M?: number | undefined;
  readonly THREAD_N?: number | undefined;
  readonly LANES?: number | undefined;
  readonly STAGING?: Staging | undefined;
}

/** A tile; sums of an invocation that are not given are as square as the invocations allow. */
function gemmTile(blockM: number, fields: TileFields, threads: number): GemmTile {
  const { BLOCK_SIZE_N: blockN, BLOCK_SIZE_K: blockK, GROUP_SIZE_M: groupM } = fields;
  const sums = Math.max(1, blockM * blockN / threads);
  const threadM = fields.THREAD_M ??
    Math.min(blockM, 2 ** Math.floor(Math.log2(Math.sqrt(sums))));
  const threadN = fields.THREAD_N ?? Math.min(blockN, Math.max(2, Math.round(sums / threadM)));
  const { LANES: lanes = 1, STAGING: staging = "both" } = fields;
  return { blockN, blockK, groupM, threadM, threadN, lanes, staging };
}
