/**
 * `hidden_act` of a config.json: the names of transformers' table (`activations.py`) and what they
 * mean here.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import type { Activation, GraphBuilder, Value } from "../../graph/mod.ts";

/** Activations by transformers' names; `prelu` and `xielu` have weights and are missing. */
export const HIDDEN_ACTIVATIONS = {
  gelu: "gelu",
  gelu_10: "gelu_10",
  gelu_accurate: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_new: "gelu_tanh",
  gelu_python: "gelu",
  gelu_python_tanh: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  laplace: "laplace",
  leaky_relu: "leaky_relu",
  linear: "linear",
  mish: "mish",
  quick_gelu: "quick_gelu",
  relu: "relu",
  relu2: "relu2",
  relu6: "relu6",
  sigmoid: "sigmoid",
  silu: "silu",
  swish: "silu",
  tanh: "tanh",
} as const satisfies Readonly<Record<string, Activation>>;

type HiddenAct = keyof typeof HIDDEN_ACTIVATIONS;

const NAMES = Object.keys(HIDDEN_ACTIVATIONS) as HiddenAct[];

/** The schema of `hidden_act`; the result is the activation's name here. */
export const hiddenActSchema: z.ZodType<Activation> = z.enum(NAMES).transform((name): Activation =>
  HIDDEN_ACTIVATIONS[name]
);

/** `act(x)` in plain operations. */
export function activate(b: GraphBuilder, x: Value, activation: Activation): Value {
  if (activation === "linear") return x;
  if (activation === "relu2") return b.op("pow", { x: b.op("relu", { x }) }, { exponent: 2 });
  return b.op(activation, { x });
}
