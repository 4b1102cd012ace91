/**
 * Whole models in words: tables of a page, and lines of a terminal.
 *
 * @module
 */

import { escape, percent, table } from "./html.ts";
import type { ModelShares, TimeShares } from "./model_shares.ts";
import { formatBytes, formatRound, formatSeconds, type Summary } from "./statistics.ts";

/** The tables of all models; nothing where none was measured. */
export function modelTables(models: readonly ModelShares[]): string {
  if (models.length === 0) return "";
  return `<h2>Whole models</h2>
${startTable(models)}
<h3>One answer at a time</h3>
${promptTable(models)}
<h3>Several answers at once</h3>
${streamTable(models)}
${models.flatMap(timeTables).join("\n")}
${problems(models)}`;
}

/** A model for a terminal. */
export function formatModel({ prompts, streams, problems, ...model }: ModelShares): string {
  const lines = [
    `ready after ${formatSeconds(model.readySeconds)}` +
    (model.coldTokenSeconds === undefined
      ? ""
      : `, first token of the first request after ${formatSeconds(model.coldTokenSeconds)}`),
    ...prompts.map(({ tokens, firstToken, decode, ofReadBandwidth }) =>
      `${tokens} tokens: first after ${formatSeconds(firstToken.median)}, then ${
        spread(decode)
      } tokens/s, ${percent(ofReadBandwidth)} of the read bandwidth`
    ),
    ...streams.map(({ streams, tokensPerSecond }) =>
      `answers at once: ${streams}, ${spread(tokensPerSecond)} tokens/s`
    ),
    ...(model.tokenTime?.kinds ?? []).map((
      { kind, layers, microsecondsPerLayer, ofReadBandwidth },
    ) =>
      `${kind}: ${microsecondsPerLayer.toFixed(1)} µs${layers > 0 ? " a layer" : ""}` +
      (ofReadBandwidth > 0 ? `, ${percent(ofReadBandwidth)}` : "")
    ),
    ...problems.map((each) => `NOT measured: ${each}`),
  ];
  return [`${model.name}, ${layersOf(model)}`, ...lines.map((line) => `  ${line}`)].join("\n");
}

function layersOf({ layers, allLayers }: Pick<ModelShares, "layers" | "allLayers">): string {
  return layers === allLayers ? `${layers} layers` : `${layers} of ${allLayers} layers`;
}

function startTable(models: readonly ModelShares[]): string {
  return table(
    [
      "model",
      "weights",
      "on the device",
      "layers",
      "ready after",
      "first token of the first request",
    ],
    models.map((model) => [
      model.name,
      model.format,
      formatBytes(model.weightBytes),
      layersOf(model),
      formatSeconds(model.readySeconds),
      model.coldTokenSeconds === undefined ? "" : formatSeconds(model.coldTokenSeconds),
    ]),
  );
}

function promptTable(models: readonly ModelShares[]): string {
  return table(
    [
      ...["model", "prompt", "first token", "prompt tokens/s", "decode tokens/s"],
      ...["spread", "bytes of a token", "of bandwidth"],
    ],
    models.flatMap(({ name, prompts }) =>
      prompts.toSorted((a, b) => a.tokens - b.tokens).map((prompt) => [
        name,
        `${prompt.tokens} tokens, ${prompt.answer} new`,
        formatSeconds(prompt.firstToken.median),
        formatRound(prompt.prefill.median),
        formatRound(prompt.decode.median),
        range(prompt.decode),
        formatBytes(prompt.tokenBytes),
        percent(prompt.ofReadBandwidth),
      ])
    ),
  );
}

function streamTable(models: readonly ModelShares[]): string {
  return table(
    ["model", "answers at once", "tokens/s", "spread"],
    models.flatMap(({ name, streams }) =>
      streams.map(({ streams, tokensPerSecond }) => [
        ...[name, String(streams), formatRound(tokensPerSecond.median), range(tokensPerSecond)],
      ])
    ),
    1,
  );
}

function timeTables({ name, tokenTime, promptTime, streamTimes }: ModelShares): string[] {
  return [
    ...tokenTime
      ? [timeTable(`A token of ${name} after ${tokenTime.context} others`, tokenTime)]
      : [],
    ...promptTime
      ? [timeTable(`A prompt of ${promptTime.tokens} tokens of ${name}`, promptTime)]
      : [],
    ...streamTimes.map((time) =>
      timeTable(
        `A token of each of ${time.sequences} answers of ${name}, after ${time.context} others`,
        time,
      )
    ),
  ];
}

/** `1,787.7` */
const TENTHS = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

function timeTable(title: string, time: TimeShares): string {
  const rows = time.kinds.map((kind) => [
    kind.kind,
    String(kind.dispatches),
    kind.layers > 0 ? TENTHS.format(kind.microsecondsPerLayer) : "",
    formatSeconds(kind.seconds.median),
    `${formatSeconds(kind.seconds.lowest)} .. ${formatSeconds(kind.seconds.highest)}`,
    percent(kind.seconds.median / time.seconds.median),
    kind.bytes > 0 ? formatBytes(kind.bytes) : "",
    kind.bytes > 0 ? percent(kind.ofReadBandwidth) : "",
  ]);
  return `<h3>${escape(title)}</h3>
${
    table(
      [
        ...["what", "dispatches", "µs a layer", "together", "spread", "of the sum"],
        ...["bytes", "of bandwidth"],
      ],
      [...rows, sumRow(time)],
      1,
    )
  }`;
}

function sumRow({ dispatches, seconds: { median, lowest, highest } }: TimeShares): string[] {
  const range = `${formatSeconds(lowest)} .. ${formatSeconds(highest)}`;
  return ["sum", String(dispatches), "", formatSeconds(median), range, "", "", ""];
}

function problems(models: readonly ModelShares[]): string {
  const lines = models.flatMap(({ name, problems }) =>
    problems.map((each) => `<li>${escape(`${name}, ${each}`)}</li>`)
  );
  return lines.length === 0 ? "" : `<h3>Not measured</h3><ul>${lines.join("")}</ul>`;
}

/** `666 (653 .. 682, n = 5)` */
function spread(summary: Summary): string {
  return `${formatRound(summary.median)} (${range(summary)})`;
}

/** `653 .. 682, n = 5` */
function range({ lowest, highest, n }: Summary): string {
  return `${formatRound(lowest)} .. ${formatRound(highest)}, n = ${n}`;
}
