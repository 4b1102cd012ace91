/**
 * What transformers' configuration classes say where a config.json does not: default values, other
 * names of keys, the default base of the rotary embedding. The table was read from the source of
 * transformers 5.18.0 (`configuration_*.py` of each model); fields that inference does not read are left
 * out.
 *
 * @module
 */

import defaults from "./class_defaults.json" with { type: "json" };

/** Defaults of one configuration class. */
export interface ClassDefaults {
  /** Base of the rotary embedding. */
  readonly theta: number;
  /** Keys that stand for another one: `num_experts: "num_local_experts"`. */
  readonly aliases: Readonly<Record<string, string | undefined>>;
  /** Values of keys that config.json does not have. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A `model_type` whose defaults are known. */
export type KnownModelType = keyof typeof defaults;

/**
 * The defaults of a `model_type`.
 *
 * @example
 * ```ts
 * import { classDefaults } from "./class_defaults.ts";
 * console.assert(classDefaults("mixtral").fields.num_local_experts === 8);
 * ```
 */
export function classDefaults(type: KnownModelType): ClassDefaults {
  return defaults[type];
}
