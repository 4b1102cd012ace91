/**
 * A report as one HTML file that needs nothing else, readable in light and dark.
 *
 * @module
 */

import type { Chart } from "./draw.ts";
import { escape, percent, table } from "./html.ts";
import { modelTables } from "./model_section.ts";
import { formatRatios, titleOf } from "./moe_ratios.ts";
import type { ReportCharts } from "./report_charts.ts";
import type { Report, ReportCase } from "./report_data.ts";
import { formatRate, formatSeconds } from "./statistics.ts";
import style from "./report.css" with { type: "text" };

/** The page. */
export function reportPage(report: Report, charts: ReportCharts): string {
  const { device, versions, date, clock, rounds } = report;
  const facts = [
    ["device", device],
    ["date", date.slice(0, 16).replace("T", " ") + " UTC"],
    ["versions", `Mixline ${versions.mixline}, Deno ${versions.deno}`],
    [
      "times of layers",
      `median of ${rounds} rounds, all contestants in turn, by ${clock}; cpu by wall clock`,
    ],
    ["ceilings", ceilings(report)],
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mixline benches: ${escape(device)}</title>
<style>
${style}</style>
</head>
<body>
<h1>Mixline on ${escape(device)}</h1>
<dl>${facts.map(([name, text]) => `<dt>${name}</dt><dd>${escape(text)}</dd>`).join("")}</dl>
${report.ratios ? `<pre>${escape(formatRatios(report.ratios))}</pre>` : ""}
${charts.models.map(figure).join("\n")}
${modelTables(report.models)}
${charts.layers.map(figure).join("\n")}
${layerTable(report.cases)}
${leftOut(report)}
</body>
</html>
`;
}

function ceilings({ ceilings }: Report): string {
  const { readBytesPerSecond, flopsPerSecond, dispatchSeconds } = ceilings;
  return `reads ${formatRate(readBytesPerSecond, "B/s")}, ` +
    `${formatRate(flopsPerSecond, "FLOP/s")} in f32, ` +
    `${formatSeconds(dispatchSeconds)} from one dependent dispatch to the next`;
}

function figure({ title, text, svg }: Chart): string {
  return `<h2>${escape(title)}</h2>
<figure role="img" aria-label="${escape(title)}">${svg}</figure>
<p>${escape(text)}</p>`;
}

function layerTable(cases: readonly ReportCase[]): string {
  if (cases.length === 0) return "";
  const head = [
    "layer",
    "by",
    "median",
    "lowest",
    "highest",
    "n",
    "dispatches",
    "of bandwidth",
    "of f32 peak",
  ];
  const rows = cases.flatMap((each) =>
    each.times.map(({ name, seconds, dispatches, ofReadBandwidth, ofFlops }) => [
      titleOf(each),
      name,
      formatSeconds(seconds.median),
      formatSeconds(seconds.lowest),
      formatSeconds(seconds.highest),
      String(seconds.n),
      name === "cpu" ? "" : String(dispatches),
      percent(ofReadBandwidth),
      percent(ofFlops),
    ])
  );
  return `<h2>MoE layers</h2>
${table(head, rows)}`;
}
function leftOut({ leftOut }: Report): string {
  if (leftOut.length === 0) return "";
  return `<h2>Left out</h2><ul>${leftOut.map((each) => `<li>${escape(each)}</li>`).join("")}</ul>`;
}
