/**
 * The page of a deployment: one HTML file that needs nothing else.
 *
 * @module
 */

import type { Graph } from "../../graph/mod.ts";
import { type Engine, writeOutputFile } from "../../runtime/mod.ts";
import type { WantedReport } from "../../transforms/mod.ts";
import { markup, trusted } from "./markup.ts";
import css from "./page.css" with { type: "text" };
import script from "./page.js" with { type: "text" };
import { type ReportData, reportData } from "./report_data.ts";
import {
  dispatchSection,
  expertSection,
  graphSection,
  memorySection,
  transformSection,
  verificationSection,
} from "./sections.ts";

/** The page as text. */
export function reportPage(data: ReportData): string {
  const { title, facts, notes } = data;
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mixline: ${title}</title>
<style>
${trusted(css)}</style>
</head>
<body>
<header><p class="made-by">Mixline deployment report</p><h1>${title}</h1>
<nav aria-label="Sections">${
    ["transforms", "graph", "memory", "dispatches", "experts"].map((id) =>
      markup`<a href="#${id}">${id}</a> `
    )
  }</nav></header>
<main>
<dl>${facts.map(([name, text]) => markup`<dt>${name}</dt><dd>${text}</dd>`)}</dl>
${notes.length > 0 ? markup`<ul>${notes.map((note) => markup`<li>${note}</li>`)}</ul>` : ""}
${transformSection(data.transforms)}
${verificationSection(data.verification)}
${graphSection(data.blocks)}
${memorySection(data)}
${dispatchSection(data.dispatches)}
${expertSection(data)}
</main>
<script>
${trusted(script)}</script>
</body>
</html>
`.text;
}

/**
 * Writes the page of a running engine, whole or not at all.
 *
 * @throws {OutputError} `output/file`: its file cannot be written.
 */
export async function writeReport(
  graph: Graph,
  engine: Engine,
  wanted: WantedReport,
): Promise<void> {
  writeOutputFile(wanted.path, reportPage(await reportData(graph, engine, wanted)));
}
