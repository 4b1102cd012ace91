/**
 * Small eager graphs with random weights, in the forms that architectures produce and in others
 * that mean the same.
 *
 * @module
 */

import {
  Graph,
  GraphBuilder,
  type HostTensor,
  type MoeActivation,
  tensor,
  type Value,
} from "../../graph/mod.ts";
import { random } from "./host_tensors.ts";

/** How a loop over experts is written. */
export interface LoopForm {
  readonly experts: number;
  readonly topK: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly activation?: MoeActivation;
  readonly mlp?: "gated" | "plain";
  readonly biases?: boolean;
  readonly routingOnInput?: boolean;
  /** Experts in the order of the graph; default 0, 1, 2, .. */
  readonly order?: readonly number[];
  /** Operands of every product exchanged. */
  readonly swapped?: boolean;
  /** The class is selected first and the rest transposed, so that `where` has tokens first. */
  readonly tokensFirst?: boolean;
  /** Changes one expert's source before it is added. */
  readonly spoil?: (b: GraphBuilder, expert: number, source: Value) => Value;
}

/** Builds eager graphs and keeps the random tensors of their weights. */
export class EagerBlocks {
  readonly tensors = new Map<string, HostTensor>();
  readonly b: GraphBuilder;
  #symbols = 0;

  constructor(name = "block") {
    this.b = new GraphBuilder(new Graph(name));
  }

  get graph(): Graph {
    return this.b.graph;
  }

  /** A weight of random numbers; its tensor has the weight's full name. */
  weight(name: string, shape: readonly number[], scale = 0.5): Value {
    const full = this.b.scope === "" ? name : `${this.b.scope}.${name}`;
    this.tensors.set(full, random(shape, this.tensors.size + 1, scale));
    return this.b.weight(name, tensor(full, "f32", shape));
  }

  /** A linear layer; `name` is a scope of its own. */
  linear(x: Value, name: string, rows: number, bias = false): Value {
    const columns = Number(x.shape[x.shape.length - 1]);
    return this.b.within(name, () =>
      this.b.op("linear", {
        x,
        w: this.weight("weight", [rows, columns]),
        bias: bias ? this.weight("bias", [rows]) : undefined,
      }));
  }

  /** RMSNorm from elementwise ops. */
  rmsNorm(x: Value, name = "norm", eps = 1e-6): Value {
    const { b } = this;
    return b.within(name, () => {
      const square = b.op("pow", { x }, { exponent: 2 });
      const mean = b.op("mean", { x: square }, { dim: -1, keepdim: true });
      const scale = b.op("rsqrt", { x: b.op("add", { a: mean, b: b.scalar(eps) }) });
      const weight = this.weight("weight", [Number(x.shape[x.shape.length - 1])]);
      return b.op("mul", { a: weight, b: b.op("mul", { a: x, b: scale }) });
    });
  }

  /** Softmax over all experts, top-k, renormalised. */
  router(x: Value, experts: number, k: number): { selected: Value; routing: Value } {
    const { b } = this;
    const scores = b.op("softmax", { x: this.linear(x, "gate", experts) }, { dim: -1 });
    const { outputs: [chosen, selected] } = b.node("topk", { x: scores }, { k });
    const total = b.op("sum", { x: chosen }, { dim: -1, keepdim: true });
    return { selected, routing: b.op("div", { a: chosen, b: total }) };
  }

  /** The loop over experts of HF's modelling code. */
  experts(x: Value, selected: Value, routing: Value, form: LoopForm): Value {
    const { b } = this;
    const mask = b.op("one_hot", { ids: selected }, { classes: form.experts });
    const byExpert = b.op("transpose", { x: mask }, { dims: [0, 2] });
    let sum = b.op("zeros_like", { x });
    for (const e of form.order ?? Array.from({ length: form.experts }, (_, i) => i)) {
      sum = b.within(
        `experts.${e}`,
        () => this.#expert(x, { mask, byExpert, routing, sum }, e, form),
      );
    }
    return sum;
  }

  #expert(
    x: Value,
    loop: { mask: Value; byExpert: Value; routing: Value; sum: Value },
    e: number,
    form: LoopForm,
  ): Value {
    const { b } = this;
    const mask = form.tokensFirst
      ? b.op("select", { x: loop.mask }, { dim: -1, index: e })
      : b.op("select", { x: loop.byExpert }, { dim: 0, index: e });
    const { outputs } = b.node("where", { mask }, { symbol: `N${this.#symbols++}` });
    const [tokens, slots] = form.tokensFirst ? outputs : outputs.toReversed();
    const weight = b.op("unsqueeze", {
      x: b.op("index", { x: loop.routing, rows: tokens, columns: slots }),
    }, { dim: 1 });
    const product = (left: Value, right: Value) =>
      b.op("mul", form.swapped ? { a: right, b: left } : { a: left, b: right });
    const gathered = b.op("index", { x, rows: tokens });
    const inner = this.mlp(form.routingOnInput ? product(gathered, weight) : gathered, form);
    const source = form.routingOnInput ? inner : product(inner, weight);
    return b.op("index_add", {
      x: loop.sum,
      rows: tokens,
      source: form.spoil?.(b, e, source) ?? source,
    });
  }

  /** One MLP: an expert, or a dense one. */
  mlp(
    x: Value,
    form: Pick<LoopForm, "intermediate" | "activation" | "mlp" | "biases" | "swapped">,
  ): Value {
    const { b } = this;
    const { activation = "silu", biases = false } = form;
    const gate = this.linear(x, "w1", form.intermediate, biases);
    const hidden = Number(x.shape[x.shape.length - 1]);
    if (form.mlp === "plain") {
      return this.linear(this.activate(gate, activation), "w2", hidden, biases);
    }
    const up = this.linear(x, "w3", form.intermediate, biases);
    const [left, right] = activation === "swiglu_oai"
      ? this.#clampedSwiglu(gate, up)
      : [this.activate(gate, activation), up];
    const product = form.swapped
      ? b.op("mul", { a: right, b: left })
      : b.op("mul", { a: left, b: right });
    return this.linear(product, "w2", hidden, biases);
  }

  /** An activation as modelling code writes it. */
  activate(x: Value, activation: MoeActivation): Value {
    if (activation === "relu2") {
      return this.b.op("pow", { x: this.b.op("relu", { x }) }, { exponent: 2 });
    }
    if (activation === "linear") return x;
    return this.b.op(activation === "swiglu_oai" ? "silu" : activation, { x });
  }

  #clampedSwiglu(gate: Value, up: Value): [Value, Value] {
    const { b } = this;
    const g = b.op("clamp", { x: gate }, { max: 0.5 });
    const u = b.op("clamp", { x: up }, { min: -0.5, max: 0.5 });
    const sigmoid = b.op("sigmoid", { x: b.op("mul", { a: g, b: b.scalar(1.702) }) });
    return [b.op("mul", { a: g, b: sigmoid }), b.op("add", { a: u, b: b.scalar(1) })];
  }
}

/** A router and a loop of experts over x [T, hidden]. */
export function moeLayer(form: LoopForm): EagerBlocks {
  const blocks = new EagerBlocks("moe_layer");
  const x = blocks.b.input("x", { dtype: "f32", shape: ["T", form.hidden] });
  const y = blocks.b.within("model.layers.0.mlp", () => {
    const { selected, routing } = blocks.router(x, form.experts, form.topK);
    return blocks.experts(x, selected, routing, form);
  });
  blocks.graph.setOutput("y", y);
  return blocks;
}
