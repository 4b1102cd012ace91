/**
 * Eager attention layers in the forms that modelling code writes.
 *
 * @module
 */

import { constant, type Value } from "../../graph/mod.ts";
import { EagerBlocks } from "./eager_blocks.ts";

/** How an attention layer is written. */
export interface AttentionForm {
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly headDim?: number;
  readonly biases?: boolean;
  /** RMSNorm of q and k. */
  readonly norm?: "none" | "head" | "all" | "only q";
  /** q, k and v are clamped, after the norm or before it. */
  readonly clip?: "none" | "after" | "before";
  readonly rope?: "none" | "half" | "partial" | "only q";
  /** Factor on cos and sin. */
  readonly attentionScaling?: number;
  readonly scale?: "scores times" | "scores over" | "q times";
  readonly mask?: "causal" | "window" | "none";
  readonly swapped?: boolean;
}

/** x [T, 16] -> attention -> o_proj [T, 16]. */
export function attentionLayer(form: AttentionForm = {}): EagerBlocks {
  const blocks = new EagerBlocks("attention_layer");
  const x = blocks.b.input("x", { dtype: "f32", shape: ["T", 16] });
  const positions = blocks.b.input("positions", { dtype: "i32", shape: ["T"] });
  const y = blocks.b.within(
    "model.layers.0.self_attn",
    () => new AttentionBuilder(blocks, positions, form).layer(x),
  );
  blocks.graph.setOutput("y", y);
  return blocks;
}

class AttentionBuilder {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** One weight for q and k, as in a model. */
  inverse: Value | undefined;

  constructor(
    readonly blocks: EagerBlocks,
    readonly positions: Value,
    readonly form: AttentionForm,
  ) {
    this.heads = form.heads ?? 4;
    this.kvHeads = form.kvHeads ?? 2;
    this.headDim = form.headDim ?? 8;
  }

  get b() {
    return this.blocks.b;
  }

  layer(x: Value): Value {
    const { b, heads, kvHeads, headDim, form } = this;
    const [q, k, v] = [
      this.turn(this.project(x, "q", heads), "q"),
      this.turn(this.project(x, "k", kvHeads), "k"),
      this.project(x, "v", kvHeads),
    ];
    const scaled = form.scale === "q times"
      ? b.op("mul", { a: q, b: b.scalar(headDim ** -0.5) })
      : q;
    const mixed = this.mix(scaled, this.repeat(k), this.repeat(v));
    const byToken = b.op("transpose", { x: mixed }, { dims: [0, 1] });
    const flat = b.op("reshape", { x: byToken }, { shape: ["T", heads * headDim] });
    return this.blocks.linear(flat, "o_proj", 16);
  }

  /** Projection, norm and clamp: [heads, T, headDim]. */
  project(x: Value, name: "q" | "k" | "v", heads: number): Value {
    const { b, headDim, form } = this;
    const normed = name !== "v" && (form.norm !== "only q" || name === "q");
    const clamp = (of: Value) => b.op("clamp", { x: of }, { min: -0.4, max: 0.4 });
    let value = this.blocks.linear(x, `${name}_proj`, heads * headDim, form.biases);
    if (form.clip === "before") value = clamp(value);
    if (normed && form.norm === "all") value = this.blocks.rmsNorm(value, `${name}_norm`);
    if (form.clip === "after" && form.norm !== "head") value = clamp(value);
    value = b.op("reshape", { x: value }, { shape: ["T", heads, headDim] });
    if (normed && (form.norm === "head" || form.norm === "only q")) {
      value = this.blocks.rmsNorm(value, `${name}_norm`);
    }
    if (form.clip === "after" && form.norm === "head") value = clamp(value);
    return b.op("transpose", { x: value }, { dims: [0, 1] });
  }

  /** Rotary embedding by rotate-half, of a whole head or of its first half. */
  turn(x: Value, name: "q" | "k"): Value {
    const { b, headDim, form } = this;
    const { rope = "half" } = form;
    if (rope === "none" || (rope === "only q" && name === "k")) return x;
    const size = rope === "partial" ? headDim / 2 : headDim;
    const part = (of: Value, start: number, end: number) =>
      b.op("slice", { x: of }, { dim: -1, start, end });
    const turning = size === headDim ? x : part(x, 0, size);
    const { cos, sin } = this.tables(size);
    const rotated = b.op("concat", {
      xs: [b.op("neg", { x: part(turning, size / 2, size) }), part(turning, 0, size / 2)],
    }, { dim: -1 });
    const [straight, crossed] = [
      b.op("mul", { a: turning, b: cos }),
      b.op("mul", { a: rotated, b: sin }),
    ];
    const turned = form.swapped
      ? b.op("add", { a: crossed, b: straight })
      : b.op("add", { a: straight, b: crossed });
    return size === headDim
      ? turned
      : b.op("concat", { xs: [turned, part(x, size, headDim)] }, { dim: -1 });
  }

  tables(size: number): { cos: Value; sin: Value } {
    const { b } = this;
    const column = b.op("unsqueeze", {
      x: b.op("cast", { x: this.positions }, { dtype: "f32" }),
    }, { dim: 1 });
    const inverse = Float32Array.from({ length: size / 2 }, (_, i) => 100 ** (-2 * i / size));
    this.inverse ??= b.weight("inv_freq", constant(inverse));
    const half = b.op("mul", { a: column, b: this.inverse });
    const angles = b.op("concat", { xs: [half, half] }, { dim: -1 });
    const factor = b.scalar(this.form.attentionScaling ?? 1);
    return {
      cos: b.op("mul", { a: b.op("cos", { x: angles }), b: factor }),
      sin: b.op("mul", { a: b.op("sin", { x: angles }), b: factor }),
    };
  }

  repeat(x: Value): Value {
    const { b, heads, kvHeads, headDim } = this;
    if (heads === kvHeads) return x;
    const shape = [kvHeads, heads / kvHeads, "T", headDim];
    const expanded = b.op("expand", { x: b.op("unsqueeze", { x }, { dim: 1 }) }, { shape });
    return b.op("reshape", { x: expanded }, { shape: [heads, "T", headDim] });
  }

  /** Scores, mask, softmax, values. */
  mix(q: Value, k: Value, v: Value): Value {
    const { b, headDim, form } = this;
    let scores = b.op("matmul", { a: q, b: b.op("transpose", { x: k }, { dims: [1, 2] }) });
    if (form.scale === "scores over") {
      scores = b.op("div", { a: scores, b: b.scalar(headDim ** 0.5) });
    } else if (form.scale !== "q times") {
      scores = b.op("mul", { a: scores, b: b.scalar(headDim ** -0.5) });
    }
    if (form.mask !== "none") {
      const attrs = form.mask === "window" ? { window: 3 } : {};
      const mask = b.op("attention_mask", { positions: this.positions }, attrs);
      scores = b.op("add", form.swapped ? { a: mask, b: scores } : { a: scores, b: mask });
    }
    return b.op("matmul", { a: b.op("softmax", { x: scores }, { dim: -1 }), b: v });
  }
}
