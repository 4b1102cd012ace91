/**
 * Every error a user can meet. One base class, and one subclass per different reaction: each class
 * has one exit code of the command line and one HTTP status, in one table.
 *
 * @module
 */

/** What a {@linkcode MixlineError} carries besides its message. */
export interface ErrorOptions {
  /** What to do about it: one imperative sentence, no full stop. */
  hint?: string;
  /** JSON-safe facts for programs, such as `{ tensor, expected, found }`. */
  details?: Record<string, unknown>;
  /** The error underneath. */
  cause?: unknown;
}

/**
 * Base of all errors that Mixline raises on purpose. `message` is one sentence of the form
 * `Cannot <verb> <what> "<name>": expected <x>, got <y>`, without a full stop.
 *
 * @example
 * ```ts
 * import { ConfigError } from "./errors.ts";
 * const error = new ConfigError("config/unknown-key", 'Cannot read a pipeline: expected a known transform, got "fuse_mo"', {
 *   hint: 'Did you mean "fuse_moe"?',
 * });
 * console.assert(error.exitCode === 2 && error.httpStatus === 400);
 * ```
 */
export abstract class MixlineError extends Error {
  /** Exit code of the command line. */
  abstract readonly exitCode: number;
  /** Status of an HTTP answer. */
  abstract readonly httpStatus: number;
  /** Stable identifier such as `checkpoint/truncated`. */
  readonly code: string;
  /** What to do, as an imperative sentence. */
  readonly hint: string | undefined;
  /** Facts for programs, such as the path or the key. JSON-safe. */
  readonly details: Record<string, unknown>;
  /** Where it happened, innermost first: `transform fuse_moe`, `node layers.3.moe`. */
  readonly trail: string[] = [];

  /** `message` reads "Cannot <verb> <what>: expected <x>, got <y>", without a full stop. */
  constructor(code: string, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = options.hint;
    this.details = options.details ?? {};
  }

  /** Adds where it happened, such as the enclosing node, and returns the same error, for `throw
   * error.within(...)`. */
  within(place: string): this {
    this.trail.push(place);
    return this;
  }

  /** Name, code, message, hint, details and trail, for `--json` and HTTP answers. */
  toJSON(): Record<string, unknown> {
    return {
      name: this.name,
      code: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      details: this.details,
      trail: this.trail,
    };
  }
}

/** Flags, YAML, options of a pipeline or of an API call. */
export class ConfigError extends MixlineError {
  /** Exit code of the command line. */
  override readonly exitCode: number = 2;
  /** Status of an HTTP answer. */
  override readonly httpStatus: number = 400;
}

/** A graph that breaks its own rules, or a transform that failed. */
export class GraphError extends MixlineError {
  /** Exit code of the command line. */
  override readonly exitCode: number = 1;
  /** Status of an HTTP answer. */
  override readonly httpStatus: number = 500;
}

/** Model folder, config.json, safetensors, tokenizer. */
export class CheckpointError extends MixlineError {
  /** Exit code of the command line. */
  override readonly exitCode: number = 3;
  /** Status of an HTTP answer. */
  override readonly httpStatus: number = 500;
}

/** No kernel for a node, or a kernel that does not compile. */
export class KernelError extends MixlineError {
  /** Exit code of the command line. */
  override readonly exitCode: number = 4;
  /** Status of an HTTP answer. */
  override readonly httpStatus: number = 500;
}

/** Adapter, limits, memory, a lost or wrong device. */
export class DeviceError extends MixlineError {
  /** Exit code of the command line. */
  override readonly exitCode: number = 5;
  /** Status of an HTTP answer. */
  override readonly httpStatus: number = 503;
}

/** A result or a file that cannot be written: a full disk, a closed stream, a folder that is read-only. */
export class OutputError extends MixlineError {
  /** Exit code of the command line. */
  override readonly exitCode: number = 1;
  /** Status of an HTTP answer. */
  override readonly httpStatus: number = 500;
}

/** A request that cannot be served: prompt too long, cancelled, malformed. */
export class RequestError extends MixlineError {
  /** Exit code of the command line. */
  override readonly exitCode: number = 2;
  /** Status of an HTTP answer; 400 unless one was given. */
  override readonly httpStatus: number;

  /** `status` is that of an HTTP answer; default 400. */
  constructor(code: string, message: string, options: ErrorOptions & { status?: number } = {}) {
    super(code, message, options);
    this.httpStatus = options.status ?? 400;
  }
}

/** Checks what cannot be false unless Mixline itself is wrong. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`${message} (this is a bug in Mixline, please report it)`);
}

/**
 * Message of anything thrown, for texts that quote a cause. Which flag grants what Deno refused is a
 * hint: see {@linkcode permissionHint}.
 */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message.replace(/, run again with the --allow-\w+ flag$/, "");
}

/**
 * What to do about an access that Deno refused: the flag that grants it, no more; undefined for every
 * other failure.
 *
 * @example
 * ```ts
 * import { permissionHint } from "./errors.ts";
 * const refused = new Error('Requires net access to "hub.example:443", run again with ..');
 * console.assert(permissionHint(refused)?.startsWith("Add --allow-net=hub.example:443 "));
 * ```
 */
export function permissionHint(error: unknown): string | undefined {
  const found = messageOf(error).match(/\bRequires (\w+) access(?: to "([^"]+)")?/);
  return found ? grantHint(found[1], found[2]) : undefined;
}

/**
 * The sentence that names the flag of a permission, such as `read` of a path. For files below `/dev`,
 * `/proc` and `/sys`, those of `/dev/shm` included, Deno wants the permission `all`, which takes no path.
 */
export function grantHint(kind: string, what?: string): string {
  if (kind === "all" && what !== undefined) {
    return "Move the file to another folder, as Deno opens this one with --allow-all alone";
  }
  return `Add ${permissionWord(kind, what)} to the flags of deno, or --allow-all`;
}

/** The flag itself, as a shell takes it. */
export function permissionWord(kind: string, what?: string): string {
  const flag = what === undefined ? `--allow-${kind}` : `--allow-${kind}=${what}`;
  return /\s/.test(flag) ? `"${flag}"` : flag;
}

/**
 * The candidate nearest to a misspelt word: each part of the word begins one of the candidate's, at
 * most a third of the letters differ, or each part resembles one. Undefined when none is near.
 *
 * @example
 * ```ts
 * import { nearest } from "./errors.ts";
 * console.assert(nearest("tritn", ["trtllm", "triton"]) === "triton");
 * console.assert(nearest("--max-tokenz", ["--max-new-tokens"]) === "--max-new-tokens");
 * ```
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const all = [...candidates];
  return nearestByParts(word, all, 0) ?? nearestBySpelling(word, all) ??
    nearestByParts(word, all, 1 / 4);
}

function nearestBySpelling(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.ceil(word.length / 3)) + 1;
  for (const candidate of candidates) {
    // A distance is at least the difference of the lengths: words of any length are refused fast.
    if (Math.abs(word.length - candidate.length) >= bestDistance) continue;
    const distance = editDistance(fold(word), fold(candidate));
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** The shortest candidate that has all parts of the word; `tolerance` is the share of letters that may differ. */
function nearestByParts(
  word: string,
  candidates: readonly string[],
  tolerance: number,
): string | undefined {
  const parts = partsOf(word);
  let best: string | undefined;
  let fewest = Infinity;
  for (const candidate of candidates) {
    const others = partsOf(candidate);
    if (others.length < fewest && hasParts(others, parts, tolerance)) {
      [best, fewest] = [candidate, others.length];
    }
  }
  return best;
}

/** Whether `parts` stand among `others` in their order: their beginnings, or with letters that differ. */
function hasParts(
  others: readonly string[],
  parts: readonly string[],
  tolerance: number,
): boolean {
  let at = 0;
  for (const part of parts) {
    const allowed = Math.floor(part.length * tolerance);
    const isSame = (other: string) =>
      part.length >= 3 && other.startsWith(part) ||
      Math.abs(part.length - other.length) <= allowed && editDistance(part, other) <= allowed;
    while (at < others.length && !isSame(others[at])) at++;
    if (at++ === others.length) return false;
  }
  return parts.length > 0;
}

/** Parts beyond this many are no name of ours. */
const MOST_PARTS = 8;

/** The words of a name, as of a flag; none of a path such as `model.norm.weight`, which has many. */
function partsOf(name: string): string[] {
  if (name.includes(".")) return [];
  return fold(name).split("_", MOST_PARTS).filter((part) => part !== "");
}

function fold(text: string): string {
  return text.toLowerCase().replaceAll("-", "_");
}

/** Levenshtein distance, two rows at a time. */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, previous[j] + 1, row[j - 1] + 1));
    }
    previous = row;
  }
  return previous[b.length];
}
