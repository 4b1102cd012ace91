/**
 * Pictures of whole models: where a token's time goes, how much of the bandwidth each part reaches, and how
 * tokens per second grow with answers at once and with longer prompts.
 *
 * @module
 */

import type { TopLevelSpec } from "../deps/vega_lite.ts";
import { type Chart, draw, INK } from "./draw.ts";
import type { ModelShares } from "./model_shares.ts";
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

/** All pictures of models; none where none was measured. */
export async function drawModels(models: readonly ModelShares[]): Promise<readonly Chart[]> {
  if (models.length === 0) return [];
  const isTimed = (which: "tokenTime" | "promptTime") => models.some((model) => model[which]);
  const times = isTimed("tokenTime")
    ? [
      draw(
        "Where a token's time goes",
        "Each dispatch was timed in a pass of its own, which adds a little to each. The mark is the time that a token " +
          "of an answer took at the same context, with what the host and the machine's other work added to it.",
        timeSpec(models, "tokenTime"),
      ),
      draw(
        "Share of the read bandwidth by part",
        "Bytes that a part must read (weights; keys and values for attention) in its time, of what this device reads " +
          "in the same run. Parts of few bytes cannot reach much: a dispatch that reads nothing takes time too.",
        shareSpec(models),
      ),
    ]
    : [];
  const prompts = isTimed("promptTime")
    ? [
      draw(
        "Where a prompt's time goes",
        `The same for one step of ${
          models[0].promptTime?.tokens
        } tokens; the mark is the time to the first token of an ` +
          "answer to so many.",
        timeSpec(models, "promptTime"),
      ),
    ]
    : [];
  return await Promise.all([
    ...times,
    ...prompts,
    draw(
      "Tokens per second of whole models",
      "Left: all answers at once together, prompts included. Right: tokens of one prompt by the time of its first " +
        "token. Medians; the lines reach from the lowest to the highest.",
      rateSpec(models),
    ),
  ]);
}

/** Kinds that occur, in order. */
function kindsOf(rows: readonly { readonly kind: string }[]): string[] {
  return DISPATCH_KINDS.filter((kind) => rows.some((row) => row.kind === kind));
}

function timeRows(models: readonly ModelShares[], which: "tokenTime" | "promptTime") {
  return models.flatMap(({ name, [which]: time }) =>
    (time?.kinds ?? []).map(({ kind, seconds, dispatches, bytes, ofReadBandwidth }) => ({
      ...{ model: name, kind, dispatches, bytes, share: ofReadBandwidth },
      ...{ milliseconds: seconds.median * 1e3, order: DISPATCH_KINDS.findIndex((k) => k === kind) },
    }))
  );
}

function timeSpec(
  models: readonly ModelShares[],
  which: "tokenTime" | "promptTime",
): Partial<TopLevelSpec> {
  const rows = timeRows(models, which);
  const kinds = kindsOf(rows);
  const isToken = which === "tokenTime";
  const whole = models.flatMap(({ name, prompts, [which]: time }) => {
    const same = prompts.find(({ tokens }) => tokens === (isToken ? time?.context : time?.tokens));
    if (!same) return [];
    const { decode, firstToken } = same;
    return [{ model: name, milliseconds: 1e3 * (isToken ? 1 / decode.median : firstToken.median) }];
  });
  const y = { field: "model", type: "nominal", sort: null, title: null, axis: { labelLimit: 220 } };
  const title = isToken ? "milliseconds of a token" : "milliseconds of a prompt";
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
  const rows = timeRows(models, "tokenTime").filter(({ bytes }) => bytes > 0);
  return {
    width: 560,
    height: { step: 14 },
    mark: { type: "bar" },
    data: { values: rows },
    encoding: {
      y: { field: "kind", type: "nominal", sort: kindsOf(rows), title: null },
      yOffset: { field: "model", type: "nominal", sort: null },
      x: {
        field: "share",
        type: "quantitative",
        axis: { title: "share of the read bandwidth", format: ".0%" },
      },
      color: modelColor(models),
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
  const y = { type: "quantitative", axis: { title: yTitle, format: ",~s" } };
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

function modelColor(models: readonly ModelShares[]) {
  const domain = models.map(({ name }) => name);
  const range = domain.map((_, i) => MODEL_COLORS[i % MODEL_COLORS.length]);
  return {
    field: "model",
    type: "nominal",
    title: null,
    legend: { orient: "top" },
    scale: { domain, range },
  };
}
