/**
 * Fields whose default is a top-level setting, so that one value can be chosen for several transforms in
 * one place. Such a field, where it is written, wins over the setting, whatever layers they are in.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";

const SETTINGS = new WeakMap<z.core.$ZodType, string>();

/** The field with this default; its description says so. Its own default must be the setting's. */
export function defaultsToSetting<Field extends z.ZodType>(setting: string, field: Field): Field {
  const described = field.describe(
    `${field.description}; unless it is written, the setting ${setting} counts`,
  );
  SETTINGS.set(described, setting);
  return described;
}

/** The setting that is the default of a field; undefined for a field with a default of its own. */
export function settingBehind(field: z.core.$ZodType): string | undefined {
  return SETTINGS.get(field);
}
