/**
 * Keeps an engine's process alive: starts it, starts another one after each that ended, waiting
 * longer from time to time, and says whether requests can be taken.
 *
 * @module
 */

import { DeviceError, messageOf } from "../../graph/mod.ts";
import { EngineError } from "./engine_error.ts";
import { type EngineCommand, EngineProcess } from "./engine_process.ts";
import type { EngineInfo } from "./protocol.ts";

/** Where the engine stands. */
export type EngineState = "starting" | "ready" | "restarting" | "closing" | "closed";

/** What a supervisor needs. */
export interface SupervisorOptions {
  readonly command: EngineCommand;
  /** The pipeline, with every value in it. */
  readonly yaml: string;
  readonly onMessage: (message: string) => void;
  readonly onState: (state: EngineState, why?: string) => void;
  /** Milliseconds before the first new start, doubled for each one that follows. Default 500. */
  readonly backOffMs?: number;
  /** An engine that lived so many milliseconds starts the waits anew. Default 60,000. */
  readonly steadyMs?: number;
  /** Milliseconds between two checks that the engine still answers. Default 5,000. */
  readonly heartbeatMs?: number;
  /** Milliseconds without an answer after which the process is ended. Default 120,000. */
  readonly hangMs?: number;
}

const DEFAULTS = { backOffMs: 500, steadyMs: 60_000, heartbeatMs: 5_000, hangMs: 120_000 };

/** Time that an engine gets to free its device. */
const MOST_CLOSING_MS = 5_000;

/** Longest wait before a new start. */
const MOST_BACK_OFF_MS = 30_000;

/** Restarts an engine's process. Made by {@linkcode Supervisor.start}. */
export class Supervisor {
  readonly #options: Required<SupervisorOptions>;
  #process: EngineProcess;
  #info: EngineInfo | undefined;
  #state: EngineState = "starting";
  #restarts = 0;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: SupervisorOptions) {
    this.#options = { ...DEFAULTS, ...options };
    this.#process = this.#launch();
  }

  /** Starts the engine's process. Requests are refused until {@linkcode Supervisor.opened}. */
  static start(options: SupervisorOptions): Supervisor {
    return new Supervisor(options);
  }

  /**
   * Waits until the engine answers for the first time. This start is not repeated: what keeps it from
   * opening is the user's to mend, and is raised.
   */
  async opened(signal?: AbortSignal): Promise<void> {
    const stop = () => this.#process.kill();
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    try {
      await this.#process.ready;
    } catch (error) {
      this.#state = "closed";
      await this.#process.exited;
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  get state(): EngineState {
    return this.#state;
  }

  /** Engines started after the first one. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Facts of the engine that runs, or ran last. */
  get info(): EngineInfo | undefined {
    return this.#info;
  }

  /** Process id of the engine. */
  get pid(): number {
    return this.#process.pid;
  }

  /**
   * The engine that answers now.
   *
   * @throws {DeviceError} while there is none.
   */
  get engine(): EngineProcess {
    if (this.#state === "ready") return this.#process;
    throw new DeviceError(
      "engine/not-ready",
      `Cannot take the request: expected an engine that is ready, got one that is ${this.#state}`,
      { hint: "Send the request again in a moment" },
    );
  }

  /** Ends the engine. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    // It never opened, and has ended.
    if (this.#state === "closed") return void await this.#process.exited;
    this.#change("closing");
    clearTimeout(this.#timer);
    const kill = setTimeout(() => this.#process.kill(), MOST_CLOSING_MS);
    await this.#process.close().finally(() => clearTimeout(kill));
    this.#change("closed");
  }

  #launch(): EngineProcess {
    const { command, yaml, onMessage } = this.#options;
    const process = EngineProcess.start(command, yaml, { onMessage });
    const begin = performance.now();
    let problem = "";
    process.ready.then((info) => {
      if (this.#closing) return;
      this.#info = info;
      this.#change("ready");
      this.#watch(process);
    }, (error) => {
      // It said itself why it cannot open; nobody waits for that but the first time.
      if (error instanceof EngineError) problem = `: ${error.message}`;
    });
    process.exited.then((code) =>
      this.#ended(`the engine ended with code ${code}${problem}`, performance.now() - begin)
    );
    return process;
  }

  #ended(why: string, livedMs: number): void {
    clearTimeout(this.#timer);
    const neverOpened = this.#info === undefined;
    if (this.#closing || this.#state === "closed" || neverOpened) return;
    if (livedMs > this.#options.steadyMs) this.#failures = 0;
    this.#startLater(why);
  }

  /** Starts another engine after a wait that is longer with every failure. */
  #startLater(why: string): void {
    const wait = Math.min(MOST_BACK_OFF_MS, this.#options.backOffMs * 2 ** this.#failures++);
    this.#change("restarting", `${why}; a new one starts in ${wait} ms`);
    this.#timer = setTimeout(() => {
      try {
        this.#process = this.#launch();
        this.#restarts++;
      } catch (error) {
        // As when the machine has no memory left for a process.
        this.#startLater(messageOf(error));
      }
    }, wait);
  }

  /** Ends a process that has stopped answering. */
  #watch(process: EngineProcess): void {
    const { heartbeatMs, hangMs } = this.#options;
    this.#timer = setTimeout(async () => {
      const hang = setTimeout(() => process.kill(), hangMs);
      const answered = await process.stats().then(() => true, () => false);
      clearTimeout(hang);
      if (answered && process === this.#process && this.#state === "ready") this.#watch(process);
    }, heartbeatMs);
  }

  #change(state: EngineState, why?: string): void {
    this.#state = state;
    this.#options.onState(state, why);
  }
}
