/**
 * Draws about which the host has more to say than sampling parameters: two dispatches around sampling
 * and their memory. Both exist from the first such draw on; steps without one do not know of them.
 *
 * @module
 */

import { type DrawDetails, invariant, type TokenLogprobs } from "../../graph/mod.ts";
import { decodeLogprobs, encodeDetails, LOGPROB_WORDS, seenWords } from "../../kernels/mod.ts";
import type { Command } from "./device/command_list.ts";
import type { ProgramMemory } from "./memory.ts";
import type { StepList } from "./step_lists.ts";

/** Commands before and after sampling. */
export interface AroundSampling {
  readonly before: readonly Command[];
  readonly after: readonly Command[];
}

/** The details of draws on the device. */
export class DetailedDraws {
  readonly #commands = new Map<StepList, AroundSampling>();

  constructor(
    readonly memory: ProgramMemory,
    readonly sizes: { readonly vocabulary: number; readonly maxRows: number },
  ) {}

  /** Brings the details of every row to the device, and gives the commands that follow them. */
  async prepare(list: StepList, rows: readonly DrawDetails[]): Promise<AroundSampling> {
    const { maxRows, vocabulary } = this.sizes;
    const words = encodeDetails(rows, maxRows);
    const maskBytes = seenWords(vocabulary) * 4;
    const grown = [
      await this.memory.growState("draw_details", words.byteLength),
      await this.memory.growState("masks", maxRows * maskBytes),
      await this.memory.growState("logprobs", maxRows * LOGPROB_WORDS * 4),
    ];
    // Commands are bound to the buffers that there were.
    if (grown.includes(true)) this.#commands.clear();
    const { queue } = this.memory.device.gpu;
    queue.writeBuffer(this.memory.state("draw_details"), 0, words);
    for (const [row, { allowed }] of rows.entries()) {
      if (allowed) queue.writeBuffer(this.memory.state("masks"), row * maskBytes, allowed);
    }
    const known = this.#commands.get(list) ?? await around(list);
    this.#commands.set(list, known);
    return known;
  }

  /** Bytes of the records of so many rows. */
  recordBytes(rows: number): number {
    return rows * LOGPROB_WORDS * 4;
  }

  /** Log-probabilities of the rows that asked for them, from their records. */
  read(
    records: Uint32Array<ArrayBuffer>,
    rows: readonly DrawDetails[],
  ): (TokenLogprobs | undefined)[] {
    return rows.map(({ logprobs }, row) =>
      logprobs === undefined
        ? undefined
        : decodeLogprobs(records.subarray(row * LOGPROB_WORDS, (row + 1) * LOGPROB_WORDS))
    );
  }
}

async function around(list: StepList): Promise<AroundSampling> {
  const { details } = list.lowered;
  invariant(details, "a list that samples has details");
  return {
    before: await list.prepare([details.before]),
    after: await list.prepare([details.after]),
  };
}
