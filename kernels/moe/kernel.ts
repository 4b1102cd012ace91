/**
 * The WebGPU kernel of `fused_moe`: hands the node to the backend that its attributes name.
 *
 * @module
 */

import { invariant } from "../../graph/mod.ts";
import { defineKernel } from "../kernel.ts";
import { moeBackend, type MoeNote } from "./backend.ts";
import "./builtin.ts";
import { callBackend, checkBackend } from "./check_backend.ts";
import { moeSpecOf, moeValuesOf } from "./spec.ts";

/** Lowers `fused_moe` through its backend. */
export const fusedMoeKernel = defineKernel({
  name: "fused_moe",
  op: "fused_moe",
  summary: "mixture of experts by the backend of the node's attributes",
  refuse(node, context) {
    const { backend } = node.attrs;
    const reason = callBackend(
      { backend, node },
      "supports()",
      () => moeBackend(backend).supports(moeSpecOf(node, context)),
    );
    return reason === undefined ? undefined : `backend ${backend} ${reason}`;
  },
  lower(node, context) {
    const spec = moeSpecOf(node, context);
    const { profile } = spec;
    invariant(profile, "a node is lowered for a device");
    const backend = moeBackend(node.attrs.backend);
    const note: MoeNote = (text, kind) => context.note(`${backend.name}: ${text}`, kind);
    const { choice } = context;
    const output = { backend: backend.name, node, profile, tokens: spec.tokens, choice };
    return checkBackend(
      callBackend(
        output,
        "compile()",
        () => backend.compile({ ...spec, profile }, moeValuesOf(node, choice), note),
      ),
      output,
    );
  },
});
