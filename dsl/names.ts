/**
 * Spelling: `fuse_moe` in YAML is `fuseMoe` in TypeScript.
 *
 * @module
 */

/** `fuse_moe` as `fuseMoe`. */
export type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

/** The camelCase form of a snake_case name. */
export function camelCase<Name extends string>(name: Name): CamelCase<Name> {
  return name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase()) as CamelCase<Name>;
}
