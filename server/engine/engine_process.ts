/**
 * The server's side of the line: one process with an engine, and the calls in flight on it.
 *
 * @module
 */

import { DeviceError, messageOf, type MixlineError } from "../../graph/mod.ts";
import type { ChatMessage } from "../../models/mod.ts";
import type { ExpertLoad, SchedulerStats } from "../../runtime/mod.ts";
import { fromWire } from "./engine_error.ts";
import {
  encodeLine,
  type EngineCall,
  type EngineEvent,
  type EngineInfo,
  readLines,
  type WireEnd,
  type WireOptions,
  type WirePiece,
  type WirePrompt,
} from "./protocol.ts";

/** How to start the process. */
export interface EngineCommand {
  readonly command: string;
  readonly args: readonly string[];
}

/** What a process tells while it lives. */
export interface EngineListener {
  /** A line about getting ready, or one that the process wrote to its stderr. */
  readonly onMessage: (message: string) => void;
}

/** What a generation gives: pieces, then its end. */
export type GenerationEvent =
  | { readonly kind: "piece"; readonly piece: WirePiece }
  | { readonly kind: "end"; readonly end: WireEnd };

/** A call that waits for events. */
interface Pending {
  take(event: EngineEvent): void;
  fail(error: Error): void;
}

/** A running process. Whatever ends it ends every call with a {@linkcode DeviceError}. */
export class EngineProcess {
  readonly #child: Deno.ChildProcess;
  readonly #calls: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #pending = new Map<number, Pending>();
  readonly #ready = Promise.withResolvers<EngineInfo>();
  readonly #encoder = new TextEncoder();
  #nextId = 1;
  #end: Error | undefined;
  /** Settles when the process is gone, with its exit code. */
  readonly exited: Promise<number>;

  /**
   * Starts the process and has it open a pipeline, given as YAML with every value in it.
   *
   * @throws {DeviceError} when there can be no such process.
   */
  static start(command: EngineCommand, yaml: string, listener: EngineListener): EngineProcess {
    return new EngineProcess(command, yaml, listener);
  }

  private constructor(
    { command, args }: EngineCommand,
    yaml: string,
    { onMessage }: EngineListener,
  ) {
    this.#child = spawn(command, args);
    this.#calls = this.#child.stdin.getWriter();
    this.#ready.promise.catch(() => {});
    const reading = Promise.all([this.#read(onMessage), readText(this.#child.stderr, onMessage)]);
    this.exited = this.#child.status.then(async ({ code, signal }) => {
      await reading.catch(() => {});
      this.#finish(lost(signal ?? `exit code ${code}`));
      return code;
    });
    this.#send({ kind: "open", yaml });
  }

  /** Process id, to watch or end it. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Calls without their last event. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /** Facts of the engine, once it answers; rejects with the error that kept it from opening. */
  get ready(): Promise<EngineInfo> {
    return this.#ready.promise;
  }

  /**
   * Pieces of a generation, then its end. Errors come out of the iteration. Leaving the loop cancels the
   * generation; so does the signal, whose reason comes out at once, whatever the engine does.
   */
  async *generate(
    prompt: WirePrompt,
    options: WireOptions,
    signal: AbortSignal,
  ): AsyncGenerator<GenerationEvent, void> {
    const id = this.#nextId++;
    const queue = new EventQueue();
    const cancel = () => {
      if (this.#pending.delete(id)) this.#send({ kind: "cancel", id });
    };
    const stop = () => {
      cancel();
      queue.fail(signal.reason);
    };
    this.#begin(id, queue);
    this.#send({ kind: "generate", id, prompt, options });
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    try {
      for (;;) {
        const event = await queue.next();
        if (event.kind === "piece" || event.kind === "end") yield event;
        if (event.kind === "end") return;
      }
    } finally {
      signal.removeEventListener("abort", stop);
      cancel();
    }
  }

  /** Token ids of a prompt, with the special tokens of its kind. */
  encode(prompt: string | readonly ChatMessage[]): Promise<readonly number[]> {
    return this.#call(
      (id) => ({ kind: "encode", id, prompt }),
      (event) => event.kind === "tokens" ? event.tokens : undefined,
    );
  }

  /** Text of token ids. */
  decode(tokens: readonly number[]): Promise<string> {
    return this.#call(
      (id) => ({ kind: "decode", id, tokens }),
      (event) => event.kind === "text" ? event.text : undefined,
    );
  }

  /** Counters of the engine's scheduler. */
  stats(): Promise<SchedulerStats> {
    return this.#call(
      (id) => ({ kind: "stats", id }),
      (event) => event.kind === "stats" ? event.stats : undefined,
    );
  }

  /** Choices of experts in the step that ran last, by layer. */
  experts(): Promise<readonly ExpertLoad[]> {
    return this.#call(
      (id) => ({ kind: "experts", id }),
      (event) => event.kind === "experts" ? event.layers : undefined,
    );
  }

  /** Closes the line: the process frees its device and ends. */
  async close(): Promise<void> {
    await this.#calls.close().catch(() => {});
    await this.exited;
  }

  /** Ends the process at once. */
  kill(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended before.
    }
  }

  #call<Answer>(
    make: (id: number) => EngineCall,
    read: (event: EngineEvent) => Answer | undefined,
  ): Promise<Answer> {
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const take = (event: EngineEvent) => {
      const answer = read(event);
      if (answer !== undefined) resolve(answer);
    };
    this.#begin(id, { take, fail: reject });
    this.#send(make(id));
    return promise;
  }

  #begin(id: number, pending: Pending): void {
    if (this.#end) pending.fail(this.#end);
    else this.#pending.set(id, pending);
  }

  #send(call: EngineCall): void {
    if (this.#end) return;
    // A failed write means that the process has ended, which `exited` reports.
    this.#calls.write(this.#encoder.encode(encodeLine(call))).catch(() => {});
  }

  async #read(onMessage: (message: string) => void): Promise<void> {
    for await (const line of readLines(this.#child.stdout)) {
      const event = parseEvent(line);
      if (event) this.#take(event, onMessage);
      else if (line.trim() !== "") onMessage(line);
    }
  }

  #take(event: EngineEvent, onMessage: (message: string) => void): void {
    if (event.kind === "progress") return onMessage(event.message);
    if (event.kind === "ready") return this.#ready.resolve(event.info);
    if (event.id === undefined) {
      if (event.kind === "error") this.#finish(fromWire(event.error));
      return;
    }
    const pending = this.#pending.get(event.id);
    if (event.kind !== "piece") this.#pending.delete(event.id);
    if (event.kind === "error") pending?.fail(fromWire(event.error));
    else pending?.take(event);
  }

  #finish(error: MixlineError): void {
    if (this.#end) return;
    this.#end = error;
    this.#ready.reject(error);
    for (const pending of this.#pending.values()) pending.fail(error);
    this.#pending.clear();
  }
}

function spawn(command: string, args: readonly string[]): Deno.ChildProcess {
  const piped = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
  try {
    return new Deno.Command(command, { args: [...args], ...piped }).spawn();
  } catch (cause) {
    throw new DeviceError(
      "engine/not-started",
      `Cannot start the engine: expected a process of "${command}", got "${messageOf(cause)}"`,
      { hint: "Put deno into the PATH, and free memory for another process", cause },
    );
  }
}

/** Events of one generation until they are read. */
class EventQueue implements Pending {
  readonly #events: EngineEvent[] = [];
  #error: Error | undefined;
  #waiting: PromiseWithResolvers<EngineEvent> | undefined;

  take(event: EngineEvent): void {
    if (this.#waiting) this.#waiting.resolve(event);
    else this.#events.push(event);
    this.#waiting = undefined;
  }

  fail(error: Error): void {
    this.#error = error;
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }

  next(): Promise<EngineEvent> {
    const event = this.#events.shift();
    if (event) return Promise.resolve(event);
    if (this.#error) return Promise.reject(this.#error);
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }
}

/** An event, or undefined for a line that a library printed. */
function parseEvent(line: string): EngineEvent | undefined {
  try {
    const value = JSON.parse(line);
    return typeof value?.kind === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}

async function readText(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  onMessage: (message: string) => void,
): Promise<void> {
  for await (const line of readLines(stream)) if (line.trim() !== "") onMessage(line);
}

function lost(how: string): DeviceError {
  return new DeviceError(
    "engine/lost",
    `Cannot go on: expected a running engine, got its end (${how})`,
    { hint: "Send the request again: the server starts a new engine" },
  );
}
