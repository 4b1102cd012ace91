/**
 * Pictures of whole models: where a token's time goes, how much of the bandwidth each part reaches, and how
 * tokens per second grow with answers at once and with longer prompts.
 *
 * @module
 */

import type { TopLevelSpec } from "../deps/vega_lite.ts";
import { type Chart, draw, INK } from "./draw.ts";
import type { ModelShares, TimeShares } from "./model_shares.ts";
import { DISPATCH_KINDS } from "./token_time.ts";

/** Colours of kinds, in the order of a token's way; the two of experts are alike. */
const KIND_COLORS: Readonly<Record<string, string>> = {
  "q, k, v": "#4dabf7",
  attention: "#e03131",
  "output projection": "#1c7ed6",
  router: "#f59f00",
  "experts, up": "#2f9e44",
  "experts, down": "#69db7c",
  "experts, rows": "#0b7285",
  "other MLPs": "#099268",
  norms: "#e64980",
  head: "#9775fa",
  sampling: "#862e9c",
  rest: "#868e96",
};

/** Colours of models. */
const MODEL_COLORS = ["#e8590c", "#228be6", "#37b24d", "#be4bdb", "#f59f00", "#868e96"];

/** A step in a picture: its name, its parts, and what it took in an answer where that was measured. */
interface TimedStep {
  readonly label: string;
  readonly time: TimeShares;
  readonly wholeSeconds?: number;
}

/** All pictures of models; none where none was measured. */
export async function drawModels(models: readonly ModelShares[]): Promise<readonly Chart[]> {
  if (models.length === 0) return [];
  const prompts = promptSteps(models);
  return await Promise.all([
    ...drawSteps(
      "Where a token's time goes",
      "Each dispatch was timed in a pass of its own, which adds a little to each. The mark is the time that a token " +
        "of an answer took at the same context, with what the host and the machine's other work added to it.",
      "milliseconds of a token",
      tokenSteps(models),
    ),
    ...models.some(({ tokenTime }) => tokenTime)
      ? [draw(
        "Share of the read bandwidth by part",
        "Bytes that a part must read (weights; keys and values for attention) in its time, of what this device reads " +
          "in the same run. Parts of few bytes cannot reach much: a dispatch that reads nothing takes time too.",
        shareSpec(models),
      )]
      : [],
    ...drawSteps(
      "Where the time of several answers goes",
      "The same for one step of several sequences with a token each; tokens per second below contain the prompts, too.",
      "milliseconds of a step",
      streamSteps(models),
    ),
    ...drawSteps(
      "Where a prompt's time goes",
      `The same for one step of ${
        prompts[0]?.time.tokens
      } tokens; the mark is the time to the first token of an ` +
        "answer to so many.",
      "milliseconds of a prompt",
      prompts,
    ),
    draw(
      "Tokens per second of whole models",
      "Left: all answers at once together, prompts included. Right: tokens of one prompt by the time of its first " +
        "token. Medians; the lines reach from the lowest to the highest.",
      rateSpec(models),
    ),
  ]);
}

function drawSteps(
  title: string,
  caption: string,
  axis: string,
  steps: readonly TimedStep[],
): Promise<Chart>[] {
  return steps.length === 0 ? [] : [draw(title, caption, timeSpec(steps, axis))];
}

function tokenSteps(models: readonly ModelShares[]): TimedStep[] {
  return models.flatMap(({ name, prompts, tokenTime }) => {
    if (!tokenTime) return [];
    const same = prompts.find(({ tokens }) => tokens === tokenTime.context);
    const whole = same && { wholeSeconds: 1 / same.decode.median };
    return [{ label: name, time: tokenTime, ...whole }];
  });
}

function promptSteps(models: readonly ModelShares[]): TimedStep[] {
  return models.flatMap(({ name, prompts, promptTime }) => {
    if (!promptTime) return [];
    const same = prompts.find(({ tokens }) => tokens === promptTime.tokens);
    const whole = same && { wholeSeconds: same.firstToken.median };
    return [{ label: name, time: promptTime, ...whole }];
  });
}

function streamSteps(models: readonly ModelShares[]): TimedStep[] {
  return models.flatMap(({ name, streamTimes }) =>
    streamTimes.map((time) => ({ label: `${name} × ${time.sequences}`, time }))
  );
}

/** Kinds that occur, in order. */
function kindsOf(rows: readonly { readonly kind: string }[]): string[] {
  return DISPATCH_KINDS.filter((kind) => rows.some((row) => row.kind === kind));
}

function timeRows(steps: readonly TimedStep[]) {
  return steps.flatMap(({ label, time }) =>
    time.kinds.map(({ kind, seconds, dispatches, bytes, ofReadBandwidth }) => ({
      ...{ step: label, kind, dispatches, bytes, share: ofReadBandwidth },
      ...{ milliseconds: seconds.median * 1e3, order: DISPATCH_KINDS.findIndex((k) => k === kind) },
    }))
  );
}

function timeSpec(steps: readonly TimedStep[], title: string): Partial<TopLevelSpec> {
  const rows = timeRows(steps);
  const kinds = kindsOf(rows);
  const whole = steps.flatMap(({ label, wholeSeconds }) =>
    wholeSeconds === undefined ? [] : [{ step: label, milliseconds: 1e3 * wholeSeconds }]
  );
  const y = { field: "step", type: "nominal", sort: null, title: null, axis: { labelLimit: 220 } };
  return {
    width: 560,
    height: { step: 46 },
    layer: [
      {
        data: { values: rows },
        mark: { type: "bar", height: 26 },
        encoding: {
          y,
          x: { field: "milliseconds", type: "quantitative", stack: "zero", title },
          order: { field: "order", type: "quantitative" },
          color: {
            field: "kind",
            type: "nominal",
            title: null,
            legend: { orient: "bottom", columns: 6 },
            scale: { domain: kinds, range: kinds.map((kind) => KIND_COLORS[kind]) },
          },
        },
      },
      {
        data: { values: whole },
        mark: { type: "tick", color: INK, thickness: 3, size: 40 },
        encoding: { y, x: { field: "milliseconds", type: "quantitative", title } },
      },
    ],
  } as Partial<TopLevelSpec>;
}

function shareSpec(models: readonly ModelShares[]): Partial<TopLevelSpec> {
  const rows = timeRows(tokenSteps(models)).filter(({ bytes }) => bytes > 0);
  return {
    width: 560,
    height: { step: 14 },
    mark: { type: "bar" },
    data: { values: rows },
    encoding: {
      y: { field: "kind", type: "nominal", sort: kindsOf(rows), title: null },
      yOffset: { field: "step", type: "nominal", sort: null },
      x: {
        field: "share",
        type: "quantitative",
        axis: { title: "share of the read bandwidth", format: ".0%" },
      },
      color: modelColor(models, "step"),
    },
  } as Partial<TopLevelSpec>;
}

function rateSpec(models: readonly ModelShares[]): Partial<TopLevelSpec> {
  const streams = models.flatMap(({ name, streams }) =>
    streams.map(({ streams, tokensPerSecond: { median, lowest, highest } }) => ({
      ...{ model: name, count: streams, median, lowest, highest },
    }))
  );
  const prompts = models.flatMap(({ name, prompts }) =>
    prompts.map(({ tokens, prefill: { median, lowest, highest } }) => ({
      ...{ model: name, count: tokens, median, lowest, highest },
    }))
  );
  return {
    hconcat: [
      ratePart(models, streams, "answers at once", "tokens/s of all answers"),
      ratePart(models, prompts, "tokens of the prompt", "prompt tokens/s"),
    ],
  } as Partial<TopLevelSpec>;
}

function ratePart(
  models: readonly ModelShares[],
  rows: readonly { readonly count: number }[],
  xTitle: string,
  yTitle: string,
) {
  const x = {
    field: "count",
    type: "quantitative",
    scale: { type: "log", base: 2 },
    axis: {
      ...{ values: [...new Set(rows.map(({ count }) => count))], title: xTitle, format: "d" },
      ...{ grid: false, labelOverlap: false, labelFlush: false },
    },
  };
  const color = modelColor(models);
  const y = { type: "quantitative", axis: { title: yTitle, format: ",f" } };
  return {
    ...{ width: 290, height: 220, data: { values: rows } },
    layer: [
      {
        mark: { type: "line", point: { size: 55, filled: true }, strokeWidth: 2 },
        encoding: { x, color, y: { field: "median", ...y, scale: { domainMin: 0 } } },
      },
      {
        mark: { type: "rule", strokeWidth: 2 },
        encoding: { x, color, y: { field: "lowest", ...y }, y2: { field: "highest" } },
      },
    ],
  };
}

function modelColor(models: readonly ModelShares[], field: "model" | "step" = "model") {
  const domain = models.map(({ name }) => name);
  const range = domain.map((_, i) => MODEL_COLORS[i % MODEL_COLORS.length]);
  return {
    field,
    type: "nominal",
    title: null,
    legend: { orient: "top" },
    scale: { domain, range },
  };
}
