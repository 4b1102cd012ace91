/**
 * A program without a model: it keeps tokens in the pages of its block tables, as a cache would,
 * and asks a function for the token after them. So a wrong page, position or row changes tokens.
 *
 * @module
 */

import type { Sampling } from "../../graph/mod.ts";
import type { Program, StepRequest, StepResult } from "../../runtime/executor.ts";

/** The next token after those of a sequence. */
export type NextToken = (before: readonly number[], sampling: Sampling) => number;

export class FakeProgram implements Program {
  readonly report = { fake: true };
  readonly requests: StepRequest[] = [];
  readonly seen = new Map<number, number[]>();
  disposed = false;
  /** Thrown by the next step. */
  failure: Error | undefined;
  readonly #cells = new Map<number, number>();

  constructor(
    readonly vocab: number,
    readonly nextToken: NextToken,
    readonly pageSize: number,
    readonly preferredRepeat = 1,
  ) {}

  async step(request: StepRequest): Promise<StepResult> {
    if (this.failure) throw this.failure;
    this.requests.push(request);
    await request.meanwhile?.();
    const { want, repeat, logitsRows } = request;
    let { tokenIds, positions } = request;
    const tokens: Int32Array<ArrayBuffer>[] = [];
    for (let round = 0; round < repeat; round++) {
      const slots = request.sequenceIds;
      tokenIds.forEach((token, i) =>
        this.#cells.set(this.#cell(request, slots[i], positions[i]), token)
      );
      const befores = [...logitsRows].map((row) =>
        this.#before(request, slots[row], positions[row])
      );
      if (want === "logits") return { logits: this.#logits(befores) };
      tokenIds = Int32Array.from(befores, (before, r) => this.nextToken(before, want[r]));
      positions = Int32Array.from(positions, (position) => position + 1);
      tokens.push(tokenIds);
    }
    return { tokens };
  }

  run(): Promise<Record<string, never>> {
    return Promise.resolve({});
  }

  outputs(): Promise<Record<string, never>> {
    return Promise.resolve({});
  }

  recentOutputs(): Promise<Record<string, never>> {
    return Promise.resolve({});
  }

  markSeen(slot: number, tokenIds: Int32Array<ArrayBuffer>): void {
    this.seen.set(slot, [...tokenIds]);
  }

  dispose(): void {
    this.disposed = true;
  }

  #cell({ blockTable }: StepRequest, slot: number, position: number): number {
    if (slot >= blockTable.sequences) throw new Error(`slot ${slot} of ${blockTable.sequences}`);
    const column = Math.floor(position / this.pageSize);
    if (column >= blockTable.pages) throw new Error(`page ${column} of ${blockTable.pages}`);
    const page = blockTable.data[slot * blockTable.pages + column];
    return page * this.pageSize + position % this.pageSize;
  }

  #before(request: StepRequest, slot: number, position: number): number[] {
    return Array.from(
      { length: position + 1 },
      (_, at) => this.#cells.get(this.#cell(request, slot, at)) ?? -1,
    );
  }

  /** One-hot rows at the sum of the tokens before. */
  #logits(befores: readonly number[][]): Float32Array<ArrayBuffer> {
    const logits = new Float32Array(befores.length * this.vocab);
    for (const [row, before] of befores.entries()) {
      logits[row * this.vocab + before.reduce((sum, token) => sum + token, 0) % this.vocab] = 1;
    }
    return logits;
  }
}
