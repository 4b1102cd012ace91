/**
 * `moe_router`: scores, choice and weights in one dispatch, whatever the number of tokens.
 *
 * @module
 */

import { input, type Node, optionalInput, type WeightFormat } from "../../graph/mod.ts";
import {
  type Access,
  constants,
  fragments,
  joinAccess,
  type WeightSpec,
  writes,
} from "../access/access.ts";
import { dataDependent, STEP } from "../access/extent.ts";
import { chunkOperand, operandAccess } from "../access/operand.ts";
import { rowsAccess } from "../access/rows.ts";
import { weightRowBytes } from "../access/weights.ts";
import { f32Literal } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import {
  defineKernel,
  type DeviceProfile,
  type Dispatch,
  type ExpertChoice,
  type LoweringContext,
} from "../kernel.ts";
import {
  GEMV_MAX_COLUMNS,
  type GemvShape,
  multiplyAccess,
  multiplyConstants,
  unrollFor,
  wordsOf,
} from "../linear/gemv.ts";
import { unreadableWeight } from "../linear/linear.ts";
import { dispatchPartials, noPartials, ticketPartials } from "../reduce/partials.ts";
import { narrowWorkgroup, reductionAccess } from "../reduce/reduction.ts";
import routerBody from "./router.wgsl" with { type: "text" };
import { choiceAccess, mostColumns } from "./router_choice.ts";
import chooseBody from "./router_choose_dispatch.wgsl" with { type: "text" };
import handOverText from "./router_hand_over.wgsl" with { type: "text" };
import loadText from "./router_load.wgsl" with { type: "text" };
import logitsText from "./router_logits.wgsl" with { type: "text" };
import normed from "./router_normed.wgsl" with { type: "text" };
import normedAbsent from "./router_normed_absent.wgsl" with { type: "text" };

/** Sizes that a tuner may choose. */
export interface RouterShape extends GemvShape {
  /** Experts of a workgroup; all of them means that no hand-over is needed. */
  readonly share: number;
}

/** Workgroups of some 128 invocations that keep a large GPU busy: four for each of an H100's processors. */
const WANTED_WORKGROUPS = 512;
/** Tokens up to which a GPU takes each one by itself, so that their choices are made side by side. */
const MAX_SINGLE_TOKENS = 64;
/** From that many on twice as many workgroups are faster (docs/lab_notes.md). */
const CROWDED_TOKENS = 33;
/** Experts whose sums an invocation holds at a time, for each of its tokens: more would spill. */
const MAX_ROWS = 4;
/** Tokens of a tile on a software adapter: of eight the shader takes twice as long to compile. */
const COLUMNS_ON_CPU = 2;
/** Bytes of the router weight up to which one workgroup reads it as fast as many. */
const ONE_WORKGROUP_BYTES = 32 << 10;

interface RouterProblem {
  readonly node: Node<"moe_router">;
  readonly weight: WeightSpec;
  readonly experts: number;
  readonly context: LoweringContext;
}

/**
 * Tiles of tokens, and as many shares of the experts as fill the device: all experts one by one for
 * few tokens, some eight experts a workgroup for 512 tokens, no sharing for thousands. A round of a
 * workgroup waits for memory far longer than it computes, so that rounds side by side cost nothing
 * and rounds one after the other do. On a GPU a tile is one token as long as those of decoding are
 * meant: the last workgroup of a tile chooses for all its tokens, which takes longer than anything
 * else (of eight tokens and 128 experts 19 µs on an H100, of one 2). Eight tokens to a tile keep the
 * weight, which every tile reads again, at 32 KiB of cache traffic a token where tokens themselves
 * are 8 (H = 2048, E = 64); each share reads its tokens again too, which is why there are no more
 * than fill the device.
 */
export function routerShape(
  { weight, experts, mostColumns = GEMV_MAX_COLUMNS }: ShapeProblem,
  { profile, tokens }: Pick<LoweringContext, "profile" | "tokens">,
): RouterShape {
  const { columns, workgroups } = tilesFor(tokens.max, mostColumns, profile);
  const words = wordsOf(weight);
  const narrow = narrowWorkgroup(profile);
  // Without subgroups every invocation's sums lie in workgroup memory: those of eight tokens are
  // many.
  const wide = words >= 4 * narrow && (profile.subgroups || columns === 1);
  const threads = Math.min(profile.maxInvocations, wide ? 4 * narrow : narrow);
  const tiles = Math.ceil(tokens.max / columns);
  // A CPU has few processors, and handing over costs it more than it gains.
  const isShared = experts * weight.columns * 2 > ONE_WORKGROUP_BYTES &&
    !(profile.software && tiles > 1);
  const shares = isShared ? Math.max(1, Math.floor(workgroups / tiles)) : 1;
  const even = Math.ceil(experts / Math.min(shares, experts));
  const rows = shares === 1 && columns === 1 ? Math.min(experts, 8) : Math.min(even, MAX_ROWS);
  const share = Math.min(experts, Math.ceil(even / rows) * rows);
  const unroll = profile.software ? 1 : unrollFor(Math.floor(words / threads), rows * columns);
  return { threads, rows, columns, unroll, share };
}

/** Tokens of a tile, and about how many workgroups all tiles should have together. */
function tilesFor(tokens: number, mostColumns: number, { software }: DeviceProfile) {
  if (software || tokens > MAX_SINGLE_TOKENS) {
    const columns = Math.min(tokens, mostColumns, software ? COLUMNS_ON_CPU : mostColumns);
    return { columns, workgroups: WANTED_WORKGROUPS };
  }
  const isCrowded = tokens >= CROWDED_TOKENS;
  return { columns: 1, workgroups: isCrowded ? 2 * WANTED_WORKGROUPS : WANTED_WORKGROUPS };
}

/** What the shape of a router depends on. */
type ShapeProblem = Pick<RouterProblem, "weight" | "experts"> & {
  /** Tokens of a workgroup at most. */
  readonly mostColumns?: number;
};

/**
 * The dispatches of a router: one, or two where results are handed over between dispatches. Where
 * the experts choose, one that leaves logits.
 */
export function routerDispatches(
  problem: RouterProblem,
  shape: RouterShape = routerShape(problem, problem.context),
): Dispatch[] {
  const { experts, context } = problem;
  const { choice: byExperts } = context;
  if (byExperts) {
    return [scoresDispatch(problem, shape, "router_logits", [logitsAccess(byExperts)])];
  }
  const shares = Math.ceil(experts / shape.share);
  const ticket = (context.handOff ?? "ticket") === "ticket";
  const choice = [choiceAccess(problem), partialsAccess(problem, shape, shares, ticket)];
  const first = scoresDispatch(problem, shape, "router", [
    ...choice,
    fragments(handOverText),
    constants({ TICKET: ticket }),
  ]);
  if (ticket || shares === 1) return [first];
  const second = composeDispatch({
    kernel: "router_choose",
    accesses: [
      ...choice,
      constants({ INVOCATIONS: shape.threads, COLUMNS: shape.columns, SUMS: shape.columns }),
      sumAccess(context.profile),
    ],
    body: chooseBody,
    workgroups: ({ T }) => [Math.ceil(T / shape.columns), 1, 1],
  });
  return [first, second];
}

function sumAccess(profile: DeviceProfile): Access {
  return reductionAccess(profile, [{ name: "sum", slots: "SUMS", operation: "add" }]);
}

/** The dispatch that makes logits, and what becomes of them. */
function scoresDispatch(
  problem: RouterProblem,
  shape: RouterShape,
  kernel: string,
  choice: readonly Access[],
): Dispatch {
  const { node, experts, context } = problem;
  const shares = Math.ceil(experts / shape.share);
  const { columns } = problem.weight;
  const { normEps } = node.attrs;
  return composeDispatch({
    kernel,
    accesses: [
      multiplyAccess("w", problem.weight, shape),
      rowsAccess("x", columns, { buffer: input(node, "x") }),
      chunkOperand("norm", columns, optionalInput(node, "norm_weight"), 1),
      operandAccess("bias", optionalInput(node, "bias"), "numbers"),
      normedAccess(node, columns),
      ...choice,
      constants({
        ...multiplyConstants(shape, 1, normEps !== undefined),
        SHARE: shape.share,
        SHARES: shares,
        EPS: f32Literal(normEps ?? 0, "an epsilon of norms"),
      }),
      sumAccess(context.profile),
    ],
    body: routerBody,
    workgroups: ({ T }) => [shares, Math.ceil(T / shape.columns), 1],
    weightBytes: () => experts * weightRowBytes(problem.weight.format, columns),
  });
}

/** Logits that experts choose from. */
function logitsAccess({ router, logits }: ExpertChoice): Access {
  return joinAccess(
    writes("logits", "f32", logits),
    fragments(logitsText),
    constants({ E: Number(input(router, "w").shape[0]) }),
    STEP,
  );
}

/** Where the normed tokens go, if anywhere: in vectors where rows are whole ones. */
function normedAccess(node: Node<"moe_router">, columns: number): Access {
  const xn = node.outputs[2];
  if (!xn) return joinAccess(fragments(normedAbsent), constants({ NORMED_COLUMNS: 0 }));
  const quads = columns % 8 === 0;
  return joinAccess(
    writes("xn", quads ? "vec4<f32>" : "f32", xn),
    fragments(normed),
    constants({ NORMED_COLUMNS: columns / (quads ? 4 : 1) }),
  );
}

/** Logits on their way from the workgroups that make them to the one that chooses. */
function partialsAccess(
  { experts, context }: RouterProblem,
  { columns }: RouterShape,
  shares: number,
  ticket: boolean,
): Access {
  if (shares === 1) return joinAccess(noPartials(), fragments(loadText));
  const tiles = Math.ceil(context.tokens.max / columns);
  const numbers = tiles * columns * experts;
  return joinAccess(
    ticket
      ? ticketPartials({ name: "logits", numbers, tickets: tiles })
      : dispatchPartials({ name: "logits", numbers }),
    fragments(loadText),
  );
}

/** `moe_router`. */
export const moeRouter = defineKernel({
  name: "moe_router",
  op: "moe_router",
  summary:
    "a workgroup takes up to 8 tokens and as many experts as leave the device full; the last one to finish chooses",
  refuse(node, { profile }) {
    const weight = input(node, "w");
    const unreadable = dataDependent(node) ?? unreadableWeight(weight);
    if (unreadable) return unreadable;
    return mostColumns(node, profile) === 0
      ? `scores of ${weight.shape[0]} experts exceed workgroup memory`
      : undefined;
  },
  lower(node, context) {
    const { problem, shape } = problemOf(node, context);
    const chosen = context.choice
      ? "logits alone, the experts choose"
      : "chosen by the last to arrive";
    context.note(
      shape.share === problem.experts
        ? `router, ${shape.columns} tokens a workgroup${context.choice ? `, ${chosen}` : ""}`
        : `router, ${shape.share} experts a workgroup, ${chosen}`,
    );
    return routerDispatches(problem, shape);
  },
});

function problemOf(
  node: Node<"moe_router">,
  context: LoweringContext,
): { readonly problem: RouterProblem; readonly shape: RouterShape } {
  const w = input(node, "w");
  const weight = { format: w.dtype as WeightFormat, payload: w, columns: Number(w.shape[1]) };
  const problem = { node, weight, experts: Number(w.shape[0]), context };
  const most = mostColumns(node, context.profile);
  return { problem, shape: routerShape({ ...problem, mostColumns: most }, context) };
}

/** Invocations of a workgroup of a router. */
export function routerInvocations(node: Node<"moe_router">, context: LoweringContext): number {
  return problemOf(node, context).shape.threads;
}
