/**
 * Backends: interchangeable implementations of `fused_moe`. Registering one makes it a value of
 * `fuse_moe.backend` in YAML and in the pipeline, and part of the shared test-suite and the benches.
 *
 * @module
 */

import { ConfigError, nearest } from "../../graph/mod.ts";
import type { Dispatch } from "../kernel.ts";
import type { DeviceMoeSpec, MoeSpec, MoeValues } from "./spec.ts";

/** Where a backend says what it chose, for the plan's report. */
export type MoeNote = (text: string, kind?: "notice") => void;

/** One implementation of the fused MoE op. */
export interface MoeBackend {
  /** How users call it. */
  readonly name: MoeBackendName;
  /** One line for the reference page: the algorithm. */
  readonly summary: string;
  /** Why the backend cannot serve this layer, or undefined when it can. */
  supports(spec: MoeSpec): string | undefined;
  /**
   * Why the backend wants experts that are chosen for a spec, or undefined when it chooses them: it is
   * then given `values.choice`, and writes `selectedExperts` and `routingWeights` itself. Without
   * this method they are always chosen.
   */
  refuseChoice?(spec: DeviceMoeSpec): string | undefined;
  /** The dispatches of one layer, in order; called only for specs it supports. */
  compile(spec: DeviceMoeSpec, values: MoeValues, note: MoeNote): readonly Dispatch[];
}

/**
 * Names of backends as types, so that a misspelt one does not compile. A program that registers its
 * own adds it here:
 *
 * ```ts ignore
 * declare module "./backend.ts" {
 *   interface MoeBackendTypes {
 *     mine: true;
 *   }
 * }
 * ```
 */
export interface MoeBackendTypes {
  /** The eager loop on the CPU. */
  reference: true;
  /** Tokens sorted by expert, grouped GEMMs. */
  triton: true;
  /** Output-centric for few tokens, permuted GEMMs for many. */
  trtllm: true;
  /** Chosen for each range of tokens by the tuned table, or a heuristic. */
  auto: true;
}

/** Name of a backend. */
export type MoeBackendName = keyof MoeBackendTypes;

const BACKENDS = new Map<MoeBackendName, MoeBackend>();

/**
 * Adds a backend.
 *
 * @throws {ConfigError} for a name that is taken or no name, and for methods that are missing.
 */
export function registerMoeBackend(backend: MoeBackend): void {
  if (!/^[a-z][a-z0-9_]*$/.test(backend.name)) {
    throw new ConfigError(
      "config/backend-name",
      `Cannot register MoE backend "${backend.name}": expected a name in snake_case, got another`,
      { hint: "Use lower-case letters, digits and underscores, a letter first" },
    );
  }
  for (const method of ["supports", "compile"] as const) {
    if (typeof backend[method] === "function") continue;
    throw new ConfigError(
      "config/backend-method",
      `Cannot register MoE backend "${backend.name}": expected a method ${method}(), got none`,
      { hint: "Write supports(spec) and compile(spec, values, note)" },
    );
  }
  if (BACKENDS.has(backend.name)) {
    throw new ConfigError(
      "config/duplicate-backend",
      `Cannot register MoE backend "${backend.name}": expected a new name, got one that is taken`,
      { hint: `Registered are ${moeBackendNames().join(", ")}` },
    );
  }
  BACKENDS.set(backend.name, backend);
}

/** Names of all backends, in the order of registration. */
export function moeBackendNames(): [MoeBackendName, ...MoeBackendName[]] {
  const [first, ...rest] = BACKENDS.keys();
  return [first, ...rest];
}

/** All backends, in the order of registration. */
export function moeBackends(): readonly MoeBackend[] {
  return [...BACKENDS.values()];
}

/** A backend by its name; raises a {@linkcode ConfigError} that names the known ones. */
export function moeBackend(name: string): MoeBackend {
  const backend = moeBackends().find((each) => each.name === name);
  if (backend) return backend;
  const near = nearest(name, BACKENDS.keys());
  throw new ConfigError(
    "config/unknown-backend",
    `Cannot choose MoE backend "${name}": expected ${moeBackendNames().join(", ")}`,
    { hint: near ? `Did you mean "${near}"?` : "Register it with registerMoeBackend first" },
  );
}
