/**
 * The graph: dtypes, shapes, the op table, nodes, weights as expressions, errors. Imports nothing
 * of the other folders.
 *
 * @module
 */

export * from "./builder.ts";
export * from "./caches.ts";
export * from "./cost.ts";
export * from "./diff.ts";
export * from "./dtype.ts";
export * from "./errors.ts";
export * from "./formats/codes.ts";
export * from "./formats/packed.ts";
export * from "./formats/quantize_matrix.ts";
export * from "./graph.ts";
export * from "./infer.ts";
export * from "./ops.ts";
export type * from "./ops/attention.ts";
export type * from "./ops/definition.ts";
export type * from "./ops/dense.ts";
export type * from "./ops/elementwise.ts";
export type * from "./ops/layout.ts";
export * from "./ops/moe.ts";
export * from "./sampling.ts";
export * from "./shape.ts";
export * from "./tensor.ts";
export * from "./integer_weight.ts";
export * from "./weight.ts";
export type * from "./weight_types.ts";
export * from "./print.ts";
export * from "./rewrite.ts";
export * from "./verify.ts";
export * from "./watched_experts.ts";
