/**
 * The memory of a load: buffers that are used again, within a number of bytes that all of them share.
 *
 * @module
 */

/** Buffers of whoever fills them and whoever uses what is in them. */
export class BufferPool {
  readonly #spare: ArrayBuffer[] = [];
  #held = 0;
  #most = 0;

  /** At most `limit` bytes, in buffers of `usual` bytes; those for more are not kept. */
  constructor(readonly limit: number, readonly usual: number) {}

  /** Most bytes that there were at a time. */
  get mostBytes(): number {
    return this.#most;
  }

  /**
   * A buffer of at least so many bytes; undefined until others are given back. One that is larger than
   * the limit is had when there is no other.
   */
  take(bytes: number): ArrayBuffer | undefined {
    const size = Math.max(bytes, this.usual);
    const spare = size === this.usual ? this.#spare.pop() : undefined;
    if (spare) return spare;
    while (this.#held + size > this.limit && this.#spare.length > 0) this.#free(this.#spare.pop());
    if (this.#held + size > this.limit && this.#held > 0) return undefined;
    this.#held += size;
    this.#most = Math.max(this.#most, this.#held);
    return new ArrayBuffer(size);
  }

  /** Gives a buffer back, to be used again. */
  give(buffer: ArrayBuffer): void {
    if (buffer.byteLength === this.usual) this.#spare.push(buffer);
    else this.#free(buffer);
  }

  /** At once: the garbage collector comes when several more have been made. */
  #free(buffer: ArrayBuffer | undefined): void {
    if (!buffer) return;
    this.#held -= buffer.byteLength;
    buffer.transfer(0);
  }
}
