/**
 * `inspect weights`: the tensors of a checkpoint by the pattern of their names, so that a hundred
 * experts in fifty layers are one line.
 *
 * @module
 */

import { basename } from "node:path";
import { ConfigError, nearest } from "../graph/mod.ts";
import {
  joinStatistics,
  type Model,
  NO_STATISTICS,
  type TensorInfo,
  type TensorStatistics,
  tensorStatistics,
} from "../models/mod.ts";
import { count, formatBytes, formatTable } from "./format.ts";
import type { View } from "./inspect_views.ts";

/** Flags of `inspect weights`. */
export interface WeightFlags {
  readonly only?: string;
  readonly stats?: boolean;
}

/** What the reading of all elements needs. */
interface Reading {
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number) => void;
}

/** Tensors whose names differ in numbers alone, with the same type and shape. */
interface TensorGroup {
  /** Name with `*` for every number. */
  readonly pattern: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly count: number;
  readonly bytes: number;
  readonly files: readonly string[];
  readonly statistics?: TensorStatistics;
  /** Tensors with NaN or infinite elements. */
  readonly invalid?: readonly string[];
  /** Matrices that f16 cannot hold: layers of these keep f32 operands. */
  readonly beyondF16?: readonly string[];
}

/** Tensors of a kind that are named; `--json` has all. */
const NAMED = 5;

const SMALLEST_NORMAL_F16 = 2 ** -14;

/** The tensors by pattern; `--stats` reads all of their elements. */
export async function listWeights(
  { checkpoint }: Model,
  flags: WeightFlags,
  reading: Reading,
): Promise<View> {
  const all = [...checkpoint.tensors.values()].sort((a, b) => a.name < b.name ? -1 : 1);
  const tensors = flags.only === undefined ? all : matching(all, flags.only);
  const found = new Map<string, TensorStatistics>();
  if (flags.stats) {
    const total = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
    let done = 0;
    for (const tensor of tensors) {
      const statistics = await tensorStatistics(checkpoint, tensor, reading.signal);
      if (statistics) found.set(tensor.name, statistics);
      reading.onProgress(done += tensor.byteLength, total);
    }
  }
  const groups = [...Map.groupBy(tensors, groupKey).values()].map((group) => groupOf(group, found));
  const total = {
    tensors: tensors.length,
    bytes: tensors.reduce((sum, { byteLength }) => sum + byteLength, 0),
  };
  return { document: { ...total, groups }, text: textOf(groups, total, flags.stats ?? false) };
}

function matching(tensors: readonly TensorInfo[], glob: string): readonly TensorInfo[] {
  const escaped = glob.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&");
  const expression = new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`);
  const found = tensors.filter(({ name }) => expression.test(name));
  if (found.length > 0) return found;
  const near = nearest(glob, tensors.map(({ name }) => name));
  throw new ConfigError(
    "cli/invalid-value",
    `Cannot read flag "--only": expected a name of a tensor, with * for any part, got "${glob}", which matches none of ${tensors.length}`,
    { hint: near ? `Did you mean "${near}"?` : "Put * before and after a part of a name" },
  );
}

function patternOf(name: string): string {
  return name.replaceAll(/(?<=^|\.)\d+(?=\.|$)/g, "*");
}

function groupKey({ name, dtype, shape }: TensorInfo): string {
  return `${patternOf(name)} ${dtype} ${shape}`;
}

function groupOf(
  tensors: readonly TensorInfo[],
  found: ReadonlyMap<string, TensorStatistics>,
): TensorGroup {
  const [{ name, dtype, shape }] = tensors;
  const known = tensors.filter((tensor) => found.has(tensor.name));
  const statistics = known.map((tensor) => found.get(tensor.name) ?? NO_STATISTICS);
  const invalid = known.filter((_, i) => statistics[i].nan + statistics[i].infinite > 0);
  const beyond = known.filter((_, i) => shape.length > 1 && isBeyondF16(statistics[i]));
  return {
    pattern: tensors.length === 1 ? name : patternOf(name),
    ...{ dtype, shape, count: tensors.length },
    bytes: tensors.reduce((sum, { byteLength }) => sum + byteLength, 0),
    files: [...new Set(tensors.map(({ file }) => basename(file)))],
    ...(known.length > 0 && {
      statistics: statistics.reduce(joinStatistics),
      invalid: invalid.map((tensor) => tensor.name),
      beyondF16: beyond.map((tensor) => tensor.name),
    }),
  };
}

/** Whether loading would find it, where operands may be f16. */
function isBeyondF16({ least, most, aboveF16 }: TensorStatistics): boolean {
  const largest = Math.max(-least, most);
  return aboveF16 > 0 || (largest > 0 && largest < SMALLEST_NORMAL_F16);
}

function textOf(
  groups: readonly TensorGroup[],
  total: { readonly tensors: number; readonly bytes: number },
  withStatistics: boolean,
): string {
  const head = ["tensors", "type", "shape", "count", "bytes", "files"];
  const more = ["least", "most", "zeros", "NaN, inf", "above f16", "0 in f16"];
  const rows = groups.map((group) => [
    group.pattern,
    group.dtype,
    `[${group.shape.join(", ")}]`,
    String(group.count),
    formatBytes(group.bytes),
    group.files.length === 1 ? group.files[0] : count(group.files.length, "file"),
    ...(withStatistics ? statisticsCells(group) : []),
  ]);
  const table = formatTable([withStatistics ? [...head, ...more] : head, ...rows]);
  const invalid = groups.flatMap((group) => group.invalid ?? []);
  const beyond = groups.flatMap((group) => group.beyondF16 ?? []);
  return `${table}\n${count(total.tensors, "tensor")}, ${formatBytes(total.bytes)}\n` +
    listText("NaN or infinite elements in", invalid) +
    listText("Beyond f16, so that operands of their layers stay f32", beyond);
}

function listText(title: string, names: readonly string[]): string {
  if (names.length === 0) return "";
  const rest = names.length > NAMED ? ` and ${names.length - NAMED} more` : "";
  return `${title}: ${names.slice(0, NAMED).join(", ")}${rest}\n`;
}

function statisticsCells({ statistics }: TensorGroup): string[] {
  if (!statistics) return ["packed codes", "", "", "", "", ""];
  const { elements, least, most, zeros, nan, infinite, aboveF16, vanishInF16 } = statistics;
  const share = (part: number) => part === 0 ? "0" : `${(100 * part / elements).toPrecision(2)} %`;
  return [
    ...[least, most].map((value) => Number.isFinite(value) ? value.toPrecision(4) : "none"),
    share(zeros),
    String(nan + infinite),
    share(aboveF16),
    share(vanishInF16),
  ];
}
