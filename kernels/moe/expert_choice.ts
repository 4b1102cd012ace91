/**
 * Which MoE layers choose their experts by themselves: their router leaves logits alone, and each
 * workgroup of the experts' first product finds the expert of its slot. That saves the wait for the
 * last workgroup of the router, which chooses for all.
 *
 * @module
 */

import { input, type Node, optionalInput, type Value } from "../../graph/mod.ts";
import { sureSubgroup } from "../reduce/lane_sum.ts";
import type { DeviceProfile, ExpertChoice, KernelDefinition, LoweringContext } from "../kernel.ts";
import { moeBackend } from "./backend.ts";
import { fusedMoeKernel } from "./kernel.ts";
import { moeRouter, routerInvocations } from "./router.ts";
import { callBackend } from "./check_backend.ts";
import { choiceRefusal, expertsOf } from "./router_choice.ts";
import { type DeviceMoeSpec, moeSpecOf } from "./spec.ts";

/** Tokens up to which experts choose: every workgroup does it again. */
const MOST_CHOICE_TOKENS = 8;
/** Scores that an invocation holds: more would take longer than a router's choice. */
const MOST_SCORES = 16;

/** What the decision needs. */
export interface ChoiceOptions {
  readonly nodes: readonly Node[];
  readonly kernels: readonly KernelDefinition[];
  /** How a node is lowered. */
  contextOf(node: Node): LoweringContext;
}

/**
 * Choices by the ids of both nodes, the router's and the layer's. Routers of few tokens that choose
 * as before have the reason in their notes.
 */
export function expertChoices(
  { nodes, kernels, contextOf }: ChoiceOptions,
): ReadonlyMap<number, ExpertChoice> {
  const choices = new Map<number, ExpertChoice>();
  for (const router of nodes) {
    if (!isOp(router, "moe_router")) continue;
    const context = contextOf(router);
    if (context.tokens.max > MOST_CHOICE_TOKENS) continue;
    const layer = onlyReader(nodes, router);
    const reason = layer
      ? refusal(router, layer, kernels, contextOf)
      : "others than one layer of experts read its choice";
    if (layer && reason === undefined) {
      const choice = choiceOf(router, context);
      choices.set(router.id, choice).set(layer.id, choice);
    } else context.note(`chooses by itself: ${reason}`);
  }
  return choices;
}

function isOp<Op extends Node["op"]>(node: Node, op: Op): node is Node<Op> {
  return node.op === op;
}

/** The one layer of experts that reads what a router chose, if nobody else does. */
function onlyReader(
  nodes: readonly Node[],
  router: Node<"moe_router">,
): Node<"fused_moe"> | undefined {
  const [selected, weights] = router.outputs;
  const reads = (node: Node, value: Value) => Object.values(node.inputs).flat().includes(value);
  const readers = nodes.filter((node) => reads(node, selected) || reads(node, weights));
  const [reader] = readers;
  if (readers.length !== 1 || !isOp(reader, "fused_moe")) return undefined;
  const isChoice = input(reader, "selected_experts") === selected &&
    input(reader, "routing_weights") === weights;
  return isChoice ? reader : undefined;
}

/** Why a router chooses by itself, or undefined when its layer does. */
function refusal(
  router: Node<"moe_router">,
  layer: Node<"fused_moe">,
  kernels: readonly KernelDefinition[],
  contextOf: ChoiceOptions["contextOf"],
): string | undefined {
  const context = contextOf(layer);
  const { profile } = context;
  const taken = [router, layer].map((node) =>
    kernels.find((each) => each.op === node.op && each.refuse(node, contextOf(node)) === undefined)
  );
  if (taken[0] !== moeRouter || taken[1] !== fusedMoeKernel) return "its kernels are others";
  const spec = { ...moeSpecOf(layer, context), profile };
  const { shared = 0, topK } = router.attrs;
  if (spec.experts !== expertsOf(router) + shared || spec.topK !== topK + shared) {
    return "the layer has other experts";
  }
  return choiceRefusal(router) ?? refuseDevice(profile, expertsOf(router)) ??
    refuseBuffers(router, layer, profile) ?? refuseLayer(layer, spec);
}

/** Inputs of a layer that its first product binds. */
const BOUND = ["w_up", "w_up_scale", "w_up_scale_2", "b_up", "x_scale"];

function refuseBuffers(
  router: Node<"moe_router">,
  layer: Node<"fused_moe">,
  { maxStorageBuffers }: DeviceProfile,
): string | undefined {
  const bound = [
    ...BOUND.map((name) => optionalInput(layer, name)),
    ...["correction", "expert_scale"].map((name) => optionalInput(router, name)),
  ].filter((value) => value !== undefined);
  // And x, the logits, what is chosen, its weights, and the results.
  return bound.length + 5 > maxStorageBuffers
    ? `${bound.length + 5} buffers are more than the device binds`
    : undefined;
}

function refuseDevice(profile: DeviceProfile, experts: number): string | undefined {
  if (profile.software) return "a software adapter gains nothing by a choice of the experts'";
  const width = sureSubgroup(profile);
  if (width < 8) return "subgroups are too small";
  return experts > width * MOST_SCORES
    ? `${experts} experts are too many for subgroups of ${width}`
    : undefined;
}

function refuseLayer(layer: Node<"fused_moe">, spec: DeviceMoeSpec): string | undefined {
  const { backend } = layer.attrs;
  const chooser = moeBackend(backend);
  if (!chooser.refuseChoice) return `backend ${backend} takes experts that are chosen`;
  return callBackend(
    { backend, node: layer },
    "refuseChoice()",
    () => chooser.refuseChoice?.(spec),
  );
}

function choiceOf(router: Node<"moe_router">, context: LoweringContext): ExpertChoice {
  const experts = Number(input(router, "w").shape[0]);
  return {
    router,
    logits: {
      kind: "scratch",
      name: "router_logits",
      bytes: context.tokens.max * experts * 4,
      node: router.id,
    },
    invocations: routerInvocations(router, context),
  };
}
