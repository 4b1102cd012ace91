/**
 * Steps that end in tokens. Sampling is part of the step's commands, and a sampled token is the next
 * step's input without leaving the device; the host reads tokens, never logits.
 *
 * @module
 */

import { hasDetails, RequestError, type Sampling } from "../../graph/mod.ts";
import {
  DRAW_WORDS,
  encodeDraw,
  samplingStateBytes,
  seenWords,
  type StepSizes,
} from "../../kernels/mod.ts";
import type { RowDraw, StepRequest, StepResult } from "../executor.ts";
import { DetailedDraws } from "./detailed_draws.ts";
import type { WebGpuDevice } from "./device/device.ts";
import { recordParts, submitParts } from "./device/record_parts.ts";
import type { ProgramMemory, StateBytes } from "./memory.ts";
import type { Readback } from "./device/readback.ts";
import type { StepInputs } from "./step_inputs.ts";
import type { StepList } from "./step_lists.ts";

/** Steps of one submit at most; the history of tokens is this long. */
const MOST_STEPS = 64;

/** Most milliseconds of one submit of several steps: the tokens come in bursts too short to notice. */
const BURST_MS = 16;
const MOST_REPEAT = 8;

/** Steps per submit where every read takes about 11 ms. */
const AWAITED_REPEAT = 8;

/** Sizes of the state of sampling. */
export interface SamplingSizes {
  readonly vocabulary: number;
  /** Rows of the block table; each has its set of seen tokens. */
  readonly slots: number;
  readonly maxRows: number;
}

/** Bytes of tokens that come back at most. */
export function historyBytes({ maxRows }: SamplingSizes): number {
  return MOST_STEPS * maxRows * 4;
}

/** Bytes of the buffers that sampling keeps from step to step. */
export function samplingStates(sizes: SamplingSizes): StateBytes {
  return samplingStateBytes({ ...sizes, maxSteps: MOST_STEPS });
}

/** A recorded submit, and what it was recorded for. */
interface Recorded {
  readonly list: StepList;
  readonly sizes: StepSizes;
  readonly steps: number;
  readonly parts: readonly GPUCommandBuffer[];
}

/** Runs steps that want tokens. */
export class TokenSteps {
  #draws: Uint32Array<ArrayBuffer> | undefined;
  /** The likely next submit, recorded while the device was busy with the one before. */
  #ahead: Recorded | undefined;
  #repeat = 1;
  readonly details: DetailedDraws;

  constructor(
    readonly device: WebGpuDevice,
    readonly readback: Readback,
    readonly memory: ProgramMemory,
    readonly inputs: StepInputs,
    readonly sampling: SamplingSizes,
    /** Of {@linkcode historyBytes}. Used for nothing else, because submits are recorded ahead. */
    readonly staging: GPUBuffer,
  ) {
    this.details = new DetailedDraws(memory, sampling);
  }

  /**
   * Steps to run at once. Between two submits the device idles while the host wakes up and sends
   * (some 0.15 ms on an H100), so several short steps go into one submit.
   */
  get preferredRepeat(): number {
    return this.readback.mode === "synchronous" ? this.#repeat : AWAITED_REPEAT;
  }

  /** Sets the tokens that the repetition penalty of a slot knows. */
  markSeen(slot: number, tokenIds: Int32Array): void {
    const words = new Uint32Array(seenWords(this.sampling.vocabulary));
    for (const id of tokenIds) words[id >>> 5] |= 1 << (id & 31);
    const offset = slot * words.byteLength;
    this.device.gpu.queue.writeBuffer(this.memory.state("seen"), offset, words);
  }

  /**
   * Gets ready for commands of sampling that somebody else runs once: they draw for the rows of the
   * request, and leave the inputs as they are.
   */
  prepareDraws(request: StepRequest, want: readonly RowDraw[]): void {
    this.#writeDraws(request, want, false);
    this.device.gpu.queue.writeBuffer(this.memory.state("counter"), 0, new Uint32Array(1));
  }

  /** Runs the steps of a request whose inputs are in place; a list of tokens for each. */
  async run(
    request: StepRequest,
    list: StepList,
    sizes: StepSizes,
    want: readonly RowDraw[],
  ): Promise<StepResult> {
    const { repeat, logitsRows } = request;
    // When every token has a row, the samples are the tokens of the next step.
    const advance = sizes.T === sizes.R && new Set(logitsRows).size === sizes.T;
    this.#writeDraws(request, want, advance);
    if (want.some(hasDetails)) {
      const result = await this.#submitDetailed(list, sizes, want, request.meanwhile);
      // Only the host knows the tokens of rows that failed; the device went on with token 0.
      if (advance) this.#assume(request, result.tokens[0]);
      return result;
    }
    const rounds: Int32Array<ArrayBuffer>[] = [];
    while (rounds.length < repeat) {
      const steps = Math.min(MOST_STEPS, repeat - rounds.length);
      const meanwhile = rounds.length === 0 ? request.meanwhile : undefined;
      rounds.push(...await this.#submit(list, sizes, steps, advance, meanwhile));
    }
    if (advance) this.#assume(request, rounds[rounds.length - 1]);
    return { tokens: rounds };
  }

  /** The device has put the samples into the next step's inputs; 0 where a row had none. */
  #assume({ logitsRows, positions, repeat }: StepRequest, samples: Int32Array): void {
    const next = new Int32Array(positions.length);
    samples.forEach((token, row) => next[logitsRows[row]] = Math.max(0, token));
    this.inputs.assume("token_ids", next);
    this.inputs.assume("positions", positions.map((position) => position + repeat));
  }

  /** One step with draws that need more than sampling. */
  async #submitDetailed(
    list: StepList,
    sizes: StepSizes,
    want: readonly RowDraw[],
    meanwhile: StepRequest["meanwhile"],
  ) {
    const { before, after } = await this.details.prepare(list, want);
    const [tokenBytes, recordBytes] = [sizes.R * 4, this.details.recordBytes(sizes.R)];
    const staging = await this.memory.staging(tokenBytes + recordBytes);
    const { memory, device } = this;
    const commands = [list.commands, before, list.sampling, after].flat();
    const parts = recordParts(device, commands, sizes, {
      before: (encoder) => encoder.clearBuffer(memory.state("counter")),
      after(encoder) {
        encoder.copyBufferToBuffer(memory.state("history"), 0, staging, 0, tokenBytes);
        encoder.copyBufferToBuffer(memory.state("logprobs"), 0, staging, tokenBytes, recordBytes);
      },
    });
    submitParts(device, parts);
    await meanwhile?.();
    const copy = await this.readback.read(staging, tokenBytes + recordBytes);
    this.device.check();
    const records = new Uint32Array(copy, tokenBytes, recordBytes / 4);
    return {
      tokens: [new Int32Array(copy, 0, sizes.R)],
      logprobs: this.details.read(records, want),
    };
  }

  async #submit(
    list: StepList,
    sizes: StepSizes,
    steps: number,
    again: boolean,
    meanwhile: StepRequest["meanwhile"],
  ) {
    const bytes = steps * sizes.R * 4;
    const ahead = this.#ahead;
    this.#ahead = undefined;
    const started = performance.now();
    const parts = ahead && isFor(ahead, list, sizes, steps)
      ? ahead.parts
      : this.#record(list, sizes, steps);
    submitParts(this.device, parts);
    if (again) {
      this.#ahead = { list, sizes, steps, parts: this.#record(list, sizes, steps) };
    }
    await meanwhile?.();
    const history = new Int32Array(await this.readback.read(this.staging, bytes));
    this.device.check();
    if (again) this.#adapt((performance.now() - started) / steps);
    return Array.from({ length: steps }, (_, i) => history.slice(i * sizes.R, (i + 1) * sizes.R));
  }

  /** Doubles or halves, so that the number of steps, and with it the recorded submit, seldom changes. */
  #adapt(milliseconds: number): void {
    const steps = BURST_MS / milliseconds;
    if (steps >= 2 * this.#repeat && this.#repeat < MOST_REPEAT) this.#repeat *= 2;
    else if (steps < 0.75 * this.#repeat && this.#repeat > 1) this.#repeat /= 2;
  }

  #record(list: StepList, sizes: StepSizes, steps: number): readonly GPUCommandBuffer[] {
    const commands = Array.from({ length: steps }, () => [...list.commands, ...list.sampling]);
    const bytes = steps * sizes.R * 4;
    return recordParts(this.device, commands.flat(), sizes, {
      before: (encoder) => encoder.clearBuffer(this.memory.state("counter")),
      after: (encoder) =>
        encoder.copyBufferToBuffer(this.memory.state("history"), 0, this.staging, 0, bytes),
    });
  }

  #writeDraws(request: StepRequest, want: readonly Sampling[], advance: boolean): void {
    const { maxRows } = this.sampling;
    if (want.length > maxRows) throw tooManyRows(want.length, maxRows);
    const { sequenceIds, logitsRows } = request;
    const draws = new Uint32Array(want.length * DRAW_WORDS);
    for (const [row, sampling] of want.entries()) {
      const slot = sequenceIds[logitsRows[row]];
      draws.set(encodeDraw({ ...sampling, slot, advance }), row * DRAW_WORDS);
    }
    const known = this.#draws;
    if (known?.length === draws.length && known.every((word, i) => word === draws[i])) return;
    this.device.gpu.queue.writeBuffer(this.memory.state("draws"), 0, draws);
    this.#draws = draws;
  }
}

function isFor(recorded: Recorded, list: StepList, sizes: StepSizes, steps: number): boolean {
  const { T, R, S, P } = recorded.sizes;
  return recorded.list === list && recorded.steps === steps && T === sizes.T && R === sizes.R &&
    S === sizes.S && P === sizes.P;
}

function tooManyRows(rows: number, most: number): RequestError {
  return new RequestError(
    "request/step-size",
    `Cannot sample: expected at most ${most} rows, one per sequence, got ${rows}`,
  );
}
