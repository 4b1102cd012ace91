/**
 * Rotary embeddings that change with the length of a sequence, settled for the longest one that will be
 * served: positions in the cache cannot be turned again when a sequence grows.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";

const parametersSchema = z.looseObject({ rope_type: z.string() });

type Raw = Readonly<Record<string, unknown>>;

/** What of a config rotary embeddings depend on. */
interface RopeConfig {
  readonly rope_parameters: unknown;
}

/**
 * The config for sequences of up to `maxSeqLen` tokens: `longrope` takes its long factors when these are
 * more than it was first trained with, `dynamic` learns how long they are. Types in `anyLength` are the
 * family's own business.
 */
export function settleRope<Config extends RopeConfig>(
  config: Config,
  maxSeqLen: number,
  anyLength: readonly string[] = [],
): Config {
  const single = parametersSchema.safeParse(config.rope_parameters);
  const settle = (of: unknown) => {
    const parsed = parametersSchema.safeParse(of);
    if (!parsed.success || anyLength.includes(parsed.data.rope_type)) return of;
    return settleOne(parsed.data, maxSeqLen);
  };
  const nested = z.record(z.string(), z.unknown()).safeParse(config.rope_parameters);
  if (single.success) return { ...config, rope_parameters: settle(single.data) };
  if (!nested.success) return config;
  const each = Object.entries(nested.data).map(([type, of]) => [type, settle(of)]);
  return { ...config, rope_parameters: Object.fromEntries(each) };
}

function settleOne(parameters: Raw, maxSeqLen: number): Raw {
  const { rope_type: type, original_max_position_embeddings: original } = parameters;
  if (type === "dynamic") return { ...parameters, served_positions: maxSeqLen };
  if (type !== "longrope" || !(maxSeqLen > Number(original))) return parameters;
  return { ...parameters, short_factor: parameters.long_factor };
}
