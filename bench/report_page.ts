/**
 * A report as one HTML file that needs nothing else, readable in light and dark.
 *
 * @module
 */

import { formatRatios, titleOf } from "./moe_ratios.ts";
import type { Chart } from "./report_charts.ts";
import type { Report, ReportCase } from "./report_data.ts";
import { formatRate, formatSeconds } from "./statistics.ts";
import style from "./report.css" with { type: "text" };

/** The page. */
export function reportPage(report: Report, charts: readonly Chart[]): string {
  const { device, versions, date, clock, rounds } = report;
  const facts = [
    ["device", device],
    ["date", date.slice(0, 16).replace("T", " ") + " UTC"],
    ["versions", `Mixline ${versions.mixline}, Deno ${versions.deno}`],
    [
      "times",
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
<h1>MoE layers on ${escape(device)}</h1>
<dl>${facts.map(([name, text]) => `<dt>${name}</dt><dd>${escape(text)}</dd>`).join("")}</dl>
${report.ratios ? `<pre>${escape(formatRatios(report.ratios))}</pre>` : ""}
${charts.map(figure).join("\n")}
<h2>Numbers</h2>
${table(report.cases)}
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

function table(cases: readonly ReportCase[]): string {
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
      `${(100 * ofReadBandwidth).toFixed(1)} %`,
      `${(100 * ofFlops).toFixed(1)} %`,
    ])
  );
  const line = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escape(cell)}</${tag}>`).join("")}</tr>`;
  return `<div class="wide"><table><thead>${line(head, "th")}</thead><tbody>
${rows.map((row) => line(row, "td")).join("\n")}
</tbody></table></div>`;
}

function leftOut({ leftOut }: Report): string {
  if (leftOut.length === 0) return "";
  return `<h2>Left out</h2><ul>${leftOut.map((each) => `<li>${escape(each)}</li>`).join("")}</ul>`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
