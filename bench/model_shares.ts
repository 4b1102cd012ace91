/**
 * Times of whole models as shares of the read bandwidth that the device reached in the same run.
 *
 * @module
 */

import type { Ceilings } from "../runtime/mod.ts";
import type { ModelResult, PromptResult } from "./model_result.ts";
import type { KindTime, StepTime } from "./token_time.ts";

/** Of the ceiling of the same run. */
interface Share {
  readonly ofReadBandwidth: number;
}

/** The time of a step with the share that each kind of dispatch reaches. */
export interface TimeShares extends Omit<StepTime, "kinds"> {
  readonly kinds: readonly (KindTime & Share)[];
}

/** A model with the shares that its tokens reach. */
export interface ModelShares
  extends Omit<ModelResult, "prompts" | "tokenTime" | "promptTime" | "streamTimes"> {
  readonly prompts: readonly (PromptResult & Share)[];
  readonly tokenTime: TimeShares | undefined;
  readonly promptTime: TimeShares | undefined;
  readonly streamTimes: readonly TimeShares[];
}

/** The bytes of a token in the median time that it takes, and the same of each kind of dispatch. */
export function withShares(model: ModelResult, ceilings: Ceilings): ModelShares {
  const share = (bytesPerSecond: number): Share => ({
    ofReadBandwidth: bytesPerSecond / ceilings.readBytesPerSecond,
  });
  const kinds = (time: StepTime): TimeShares => ({
    ...time,
    kinds: time.kinds.map((kind) => ({ ...kind, ...share(kind.bytes / kind.seconds.median) })),
  });
  return {
    ...model,
    prompts: model.prompts.map((prompt) => ({
      ...prompt,
      ...share(prompt.tokenBytes * prompt.decode.median),
    })),
    tokenTime: model.tokenTime && kinds(model.tokenTime),
    promptTime: model.promptTime && kinds(model.promptTime),
    streamTimes: model.streamTimes.map(kinds),
  };
}
