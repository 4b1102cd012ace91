/**
 * The choice of experts from their logits: the plain one, and the general one for routers with
 * corrections, groups, shared experts and the like.
 *
 * @module
 */

import { input, type Node, optionalInput, routedExperts } from "../../graph/mod.ts";
import { type Access, constants, fragments, joinAccess, writes } from "../access/access.ts";
import { STEP } from "../access/extent.ts";
import { operandAccess } from "../access/operand.ts";
import { f32Literal, LOWEST } from "../compose.ts";
import type { DeviceProfile } from "../kernel.ts";
import { GEMV_MAX_COLUMNS } from "../linear/gemv.ts";
import weightsText from "./algorithms/choice_weights.wgsl" with { type: "text" };
import weightsGeneralText from "./algorithms/choice_weights_general.wgsl" with { type: "text" };
import rankedText from "./ranked_logit.wgsl" with { type: "text" };
import chooseText from "./router_choose.wgsl" with { type: "text" };
import generalText from "./router_choose_general.wgsl" with { type: "text" };
import scoresText from "./router_scores.wgsl" with { type: "text" };
import generalScoresText from "./router_scores_general.wgsl" with { type: "text" };

/** What of a router its choice depends on. */
interface ChoiceProblem {
  readonly node: Node<"moe_router">;
  /** Rows of its weight. */
  readonly experts: number;
}

/** Workgroup memory that a router needs besides scores. */
const OTHER_BYTES = 8 << 10;

/** Experts that a router chooses from. */
export function expertsOf(router: Node<"moe_router">): number {
  return routedExperts(Number(input(router, "w").shape[0]), router.attrs);
}

/** True for routers that the plain choice does not serve. */
function isGeneral({ attrs, inputs }: Node<"moe_router">): boolean {
  const { scoring, softmaxOver, groups, shared = 0, logitScale = 1 } = attrs;
  const bounds = attrs.sumFloor !== undefined || attrs.sumOffset !== undefined ||
    attrs.normPower !== undefined;
  return scoring === "sparse_mixer" || (scoring === "sigmoid" && softmaxOver === "selected") ||
    groups !== undefined || shared > 0 || logitScale !== 1 || bounds ||
    inputs.correction !== undefined || inputs.expert_scale !== undefined;
}

/** Tokens of a workgroup whose scores fit into workgroup memory; 0 when not even one does. */
export function mostColumns(
  node: Node<"moe_router">,
  { maxWorkgroupStorageBytes }: Pick<DeviceProfile, "maxWorkgroupStorageBytes">,
): number {
  const rows = Number(input(node, "w").shape[0]);
  const left = maxWorkgroupStorageBytes - OTHER_BYTES;
  if (!isGeneral(node)) return rows * 4 * GEMV_MAX_COLUMNS > left ? 0 : GEMV_MAX_COLUMNS;
  // Scores and what experts are ranked by, and what groups are worth.
  const bytes = 4 * (2 * rows + 4 + (node.attrs.groups?.count ?? 1));
  return Math.min(GEMV_MAX_COLUMNS, Math.floor(left / bytes));
}

/** What the choice needs: outputs, the step, the attributes. */
export function choiceAccess(problem: ChoiceProblem): Access {
  return isGeneral(problem.node) ? generalChoice(problem) : plainChoice(problem);
}

function plainChoice(problem: ChoiceProblem): Access {
  return joinAccess(
    chosenAccess(problem.node),
    fragments(chooseText),
    plainConstants(problem),
    constants({ TOP_K: problem.node.attrs.topK }),
  );
}

/** What the plain choice is told, whoever makes it. */
function plainConstants({ node, experts }: ChoiceProblem): Access {
  const { scoring, softmaxOver, renormalize, scale } = node.attrs;
  return joinAccess(
    fragments(rankedText, scoresText),
    constants({
      E: experts,
      SIGMOID: scoring === "sigmoid",
      OVER_ALL: softmaxOver === "all",
      RENORMALIZE: renormalize,
      SCALE: f32Literal(scale, "a scale of routing weights"),
      LOWEST,
    }),
  );
}

function generalChoice(problem: ChoiceProblem): Access {
  const { topK, scoring, jitter = 0, groups } = problem.node.attrs;
  return joinAccess(
    chosenAccess(problem.node),
    generalTerms(problem),
    fragments(generalText),
    constants({
      TOP_K: topK,
      MIXER: scoring === "sparse_mixer",
      JITTER: f32Literal(jitter),
      GROUPS: groups?.count ?? 1,
      KEPT: groups?.kept ?? 1,
      TWO_BEST: groups?.by === "two_best",
    }),
  );
}

/** What the general choice is told and reads, whoever makes it, but for groups and the mixer. */
function generalTerms({ node, experts: rows }: ChoiceProblem): Access {
  const { topK, scoring, softmaxOver, renormalize, scale, logitScale = 1 } = node.attrs;
  const { sumOffset = 0, sumFloor = 0, shared = 0, sharedGate = false } = node.attrs;
  const { normPower = 1 } = node.attrs;
  return joinAccess(
    operandAccess("correction", optionalInput(node, "correction"), "numbers"),
    operandAccess("expert_scale", optionalInput(node, "expert_scale"), "numbers", 1),
    fragments(rankedText, generalScoresText),
    constants({
      E: rows,
      EXPERTS: expertsOf(node),
      CHOSEN: topK,
      SHARED: shared,
      SHARED_GATE: sharedGate,
      SIGMOID: scoring === "sigmoid",
      OVER_ALL: softmaxOver === "all",
      // The scores of chosen experts are their weights, as those of a sparse mixer are.
      ONLY_SCORES: softmaxOver === "all" || scoring === "sparse_mixer",
      RENORMALIZE: renormalize,
      SUM_OFFSET: f32Literal(sumOffset),
      SUM_FLOOR: f32Literal(sumFloor),
      NORM_POWER: f32Literal(normPower, "a power of routing weights"),
      SCALE: f32Literal(scale, "a scale of routing weights"),
      LOGIT_SCALE: f32Literal(logitScale, "a scale of logits"),
      LOWEST,
    }),
  );
}

/** Scores and weights for experts that choose, from logits that another dispatch made. */
export function expertChoiceTerms(problem: ChoiceProblem): Access {
  const { node, experts } = problem;
  const { topK, scoring, softmaxOver } = node.attrs;
  if (isGeneral(node)) {
    const bySoftmax = softmaxOver === "all" && scoring === "softmax";
    return joinAccess(
      generalTerms(problem),
      fragments(weightsGeneralText),
      constants({ BY_SOFTMAX: bySoftmax }),
    );
  }
  return joinAccess(
    plainConstants(problem),
    fragments(weightsText),
    constants({ CHOSEN: topK, EXPERTS: experts, SHARED: 0, BY_SOFTMAX: false }),
  );
}

/** Why experts cannot make the choice of a router, or undefined when they can. */
export function choiceRefusal(
  { attrs, inputs }: Pick<Node<"moe_router">, "attrs" | "inputs">,
): string | undefined {
  const { scoring, softmaxOver, groups, logitScale = 1 } = attrs;
  if (scoring === "sparse_mixer") return "a sparse mixer chooses one after the other";
  if (groups !== undefined) return "its experts are in groups";
  if (logitScale <= 0) return "its scale of logits is not above 0";
  const divided = scoring === "softmax" && softmaxOver === "all";
  return divided && inputs.correction !== undefined
    ? "corrections are added to a softmax of all experts"
    : undefined;
}

/** Where the choice goes, and the step. */
function chosenAccess({ outputs: [selected, weights] }: Node<"moe_router">): Access {
  return joinAccess(
    writes("selected", "i32", selected),
    writes("routing_weights", "f32", weights),
    STEP,
  );
}
