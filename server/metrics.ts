/**
 * Metrics in Prometheus' text form.
 *
 * @module
 */

import { Counter, Gauge, Histogram, Registry } from "../deps/prom_client.ts";
import type { ExpertLoad, SchedulerStats } from "../runtime/mod.ts";
import type { EngineState } from "./engine/supervisor.ts";

/** Seconds to the first token. */
const FIRST_TOKEN_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Seconds per token. */
const TOKEN_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1];
const REQUEST_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

const STATES: readonly EngineState[] = ["starting", "ready", "restarting", "closing", "closed"];

/** The metrics of one server. Names follow Prometheus' rules: base units, `_total` for counters. */
export class ServerMetrics {
  readonly registry = new Registry();
  readonly requests = this.#counter("requests_total", "Requests by route and status", [
    "route",
    "status",
  ]);
  readonly refused = this.#counter(
    "requests_refused_total",
    "Requests refused because the queue was full",
  );
  readonly promptTokens = this.#counter("prompt_tokens_total", "Tokens of prompts");
  readonly completionTokens = this.#counter("completion_tokens_total", "Tokens generated");
  readonly firstToken = this.#histogram(
    "time_to_first_token_seconds",
    "Request to first token",
    FIRST_TOKEN_BUCKETS,
  );
  readonly perToken = this.#histogram(
    "time_per_output_token_seconds",
    "Between tokens of one request",
    TOKEN_BUCKETS,
  );
  readonly duration = this.#histogram(
    "request_duration_seconds",
    "Whole requests",
    REQUEST_BUCKETS,
    ["route"],
  );
  readonly #inFlight = this.#gauge("requests_in_flight", "Requests that have not been answered");
  readonly #running = this.#gauge("sequences_running", "Sequences that share the steps");
  readonly #waiting = this.#gauge("sequences_waiting", "Sequences that wait for a place");
  readonly #pagesUsed = this.#gauge("kv_pages_used", "Pages of the KV cache in use");
  readonly #pagesTotal = this.#gauge("kv_pages_total", "Pages of the KV cache");
  readonly #pagesRemembered = this.#gauge(
    "kv_pages_cached",
    "Pages whose tokens are known for reuse",
  );
  readonly #reused = this.#gauge("prefix_reused_tokens_total", "Prompt tokens found in the cache");
  readonly #preemptions = this.#gauge(
    "preemptions_total",
    "Sequences that lost their place for a time",
  );
  readonly #memory = this.#gauge("device_memory_bytes", "Device memory by what it holds", ["kind"]);
  readonly #expertsUsed = this.#gauge(
    "experts_used",
    "Experts of a layer that the last step chose",
    ["layer"],
  );
  readonly #expertImbalance = this.#gauge(
    "experts_most_over_mean",
    "Choices of the busiest expert of a layer in the last step, over the mean of all its experts",
    ["layer"],
  );
  readonly #restarts = this.#gauge("engine_restarts_total", "Engines started after the first one");
  readonly #state = this.#gauge("engine_state", "1 for the state the engine is in", ["state"]);

  /** Takes a request's place in the count; call what it returns when the request has ended. */
  begin(): () => void {
    this.#inFlight.inc();
    return () => this.#inFlight.dec();
  }

  /** Counts of the engine's scheduler; undefined when no engine answers. */
  observeEngine(stats: SchedulerStats | undefined): void {
    this.#running.set(stats?.running ?? 0);
    this.#waiting.set(stats?.waiting ?? 0);
    this.#pagesUsed.set(stats?.pages.used ?? 0);
    this.#pagesTotal.set(stats?.pages.total ?? 0);
    this.#pagesRemembered.set(stats?.pages.remembered ?? 0);
    // Totals that fell for a moment would be counted twice by who watches them.
    if (!stats) return;
    this.#reused.set(stats.reusedTokens);
    this.#preemptions.set(stats.preemptions);
  }

  /** Choices of the engine's last step, two numbers a layer however many experts it has. */
  observeExperts(layers: readonly ExpertLoad[]): void {
    this.#expertsUsed.reset();
    this.#expertImbalance.reset();
    for (const { scope: layer, counts } of layers) {
      const total = counts.reduce((sum, count) => sum + count, 0);
      this.#expertsUsed.set({ layer }, counts.filter((count) => count > 0).length);
      this.#expertImbalance.set(
        { layer },
        Math.max(...counts) * counts.length / Math.max(1, total),
      );
    }
  }

  /** State of the supervisor. */
  observeSupervisor(state: EngineState, restarts: number, bytes: unknown): void {
    this.#restarts.set(restarts);
    for (const each of STATES) this.#state.set({ state: each }, each === state ? 1 : 0);
    if (typeof bytes !== "object" || bytes === null) return;
    for (const [kind, value] of Object.entries(bytes)) {
      if (typeof value === "number") this.#memory.set({ kind }, value);
    }
  }

  /** The text of `GET /metrics`. */
  text(): Promise<string> {
    return this.registry.metrics();
  }

  #counter(name: string, help: string, labelNames: string[] = []) {
    return new Counter({ name: `mixline_${name}`, help, labelNames, registers: [this.registry] });
  }

  #gauge(name: string, help: string, labelNames: string[] = []) {
    return new Gauge({ name: `mixline_${name}`, help, labelNames, registers: [this.registry] });
  }

  #histogram(name: string, help: string, buckets: number[], labelNames: string[] = []) {
    return new Histogram({
      name: `mixline_${name}`,
      help,
      buckets,
      labelNames,
      registers: [this.registry],
    });
  }
}
