/**
 * Operands of f32 that a node may not have, such as a bias. Shaders read them by the same functions
 * either way; an operand that is absent takes no binding and reads as a constant.
 *
 * @module
 */

import { f32Literal, instantiate } from "../compose.ts";
import type { Rows } from "../kernel.ts";
import absentAt from "./absent_at.wgsl" with { type: "text" };
import absentChunk from "./absent_chunk.wgsl" with { type: "text" };
import absentElement from "./absent_element.wgsl" with { type: "text" };
import absentQuad from "./absent_quad.wgsl" with { type: "text" };
import { type Access, fragments, joinAccess, reads } from "./access.ts";
import chunk from "./chunk.wgsl" with { type: "text" };
import operandAt from "./operand_at.wgsl" with { type: "text" };
import operandElement from "./operand_element.wgsl" with { type: "text" };
import operandQuad from "./operand_quad.wgsl" with { type: "text" };
import operandQuadVec4 from "./operand_quad_vec4.wgsl" with { type: "text" };
import { rowsAccess } from "./rows.ts";

/** How an operand is bound and read. */
interface Form {
  /** Elements of the bound array. */
  readonly element: string;
  readonly present: readonly string[];
  readonly absent: readonly string[];
}

const FORMS = {
  /** `name_at(i) -> f32` */
  numbers: { element: "f32", present: [operandAt], absent: [absentAt] },
  /** `name_at(i) -> f32` and `name_quad(i) -> vec4<f32>`, four neighbours from number `i` on */
  "numbers and quads": {
    element: "f32",
    present: [operandAt, operandQuad],
    absent: [absentAt, absentQuad],
  },
  /** `name_quad(i) -> vec4<f32>` alone, for arrays that are bound as vectors */
  quads: {
    element: "vec4<f32>",
    present: [operandQuadVec4],
    absent: [absentAt, absentQuad],
  },
  /** `name_element(i) -> Element`, which is f32 or `vec4<f32>` in the whole shader */
  elements: { element: "Element", present: [operandElement], absent: [absentElement] },
} as const satisfies Record<string, Form>;

/** An operand, or the number that stands for it when it is absent. */
export function operandAccess(
  name: string,
  buffer: Rows | undefined,
  form: keyof typeof FORMS,
  absent = 0,
): Access {
  const { element, present, absent: constant } = FORMS[form];
  if (!buffer) return fragments(...texts(constant, { NAME: name, VALUE: f32Literal(absent) }));
  return joinAccess(
    reads(name, element, buffer),
    fragments(...texts(present, { NAME: name, SOURCE: name })),
  );
}

/** An operand that lies in a buffer which the shader binds already, read as `name_at(i)`. */
export function boundOperand(name: string, buffer: string): Access {
  return fragments(instantiate(operandAt, { NAME: name, SOURCE: buffer }));
}

/** An operand that every row has in common, read as `name_chunk(row, chunk)` for any row of 0. */
export function chunkOperand(
  name: string,
  columns: number,
  buffer: Rows | undefined,
  absent: number,
): Access {
  if (buffer) return rowsAccess(name, columns, { buffer });
  return fragments(chunk, instantiate(absentChunk, { NAME: name, VALUE: f32Literal(absent) }));
}

function texts(forms: readonly string[], names: Readonly<Record<string, string>>): string[] {
  return forms.map((text) => instantiate(text, names));
}
