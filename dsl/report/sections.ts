/**
 * The parts of the page of a deployment.
 *
 * @module
 */

import type { TransformRecord } from "../../transforms/mod.ts";
import type { VerifyRow } from "../verify.ts";
import { expertMap } from "./expert_map.ts";
import { formatBytes, formatCount, formatDispatchTime, formatShare } from "./format.ts";
import type { BlockNode, GraphBlock } from "./graph_blocks.ts";
import { blockPicture } from "./graph_picture.ts";
import { type Markup, markup } from "./markup.ts";
import type { DispatchGroup, Measured, ReportData } from "./report_data.ts";

/** What every transform found and changed. */
export function transformSection(records: readonly TransformRecord[]): Markup {
  const idle = records.filter(({ enabled, skipped }) => !enabled || skipped);
  const ran = records.filter((record) => !idle.includes(record));
  const found = ran.filter(hasFound);
  const others = ran.filter((record) => !hasFound(record));
  return markup`<h2 id="transforms">Transforms</h2>
<p>Near misses are places that almost matched, with the condition that failed.</p>
${
    table(
      ["transform", "stage", "matches", "near misses", "nodes", "weights", "time"],
      found.map((record) => [
        detailed(record),
        record.stage,
        record.num_matches,
        record.nearMisses.length,
        change(record.nodesBefore, record.nodesAfter, String),
        change(record.weightBytesBefore, record.weightBytesAfter, formatBytes),
        `${record.milliseconds.toFixed(1)} ms`,
      ]),
      2,
    )
  }
<details><summary>${others.length} found nothing to change</summary><p>${
    others.map(({ key }) => key).join(", ")
  }</p></details>
<details><summary>${idle.length} did not run</summary>${
    table(
      ["transform", "stage", "why"],
      idle.map(({ key, stage, enabled, error, notes }) => [
        key,
        stage,
        error ?? (enabled ? notes.join("; ") || "nothing to do" : "off"),
      ]),
      3,
    )
  }</details>`;
}

function hasFound(record: TransformRecord): boolean {
  return record.num_matches > 0 || record.nearMisses.length > 0 || record.notes.length > 0;
}

/** The key of a transform, with its notes and near misses to be opened. */
function detailed({ key, notes, nearMisses }: TransformRecord): Markup | string {
  const lines = [...notes, ...nearMisses.map(({ node, reason }) => `almost: ${node}: ${reason}`)];
  if (lines.length === 0) return key;
  return markup`<details><summary>${key}</summary><ul>${
    lines.map((line) => markup`<li>${line}</li>`)
  }</ul></details>`;
}

function change(before: number, after: number, format: (value: number) => string): string {
  const [from, to] = [format(before), format(after)];
  return from === to ? to : `${from} → ${to}`;
}

/** What each transform did to the logits; nothing when nobody asked. */
export function verificationSection(rows: readonly VerifyRow[]): Markup | string {
  if (rows.length === 0) return "";
  const cells = rows.map((row) =>
    row.skipped === undefined
      ? [
        row.step === undefined ? row.transform : `${row.transform}: ${row.step}`,
        `${row.against ?? ""}${row.firstBadNode ? `; first bad node: ${row.firstBadNode}` : ""}`,
        row.maxDifference?.toExponential(1) ?? "",
        row.meanDivergence?.toExponential(1) ?? "",
        row.changedTokens ?? "",
      ]
      : [row.transform, `not compared: ${row.skipped}`, "", "", ""]
  );
  return markup`<h2 id="verification">Verification</h2>
<p>Logits of a sample text before and after each transform, on the CPU, and of the compiled program.</p>
${
    table(
      ["transform", "compared with", "largest difference", "divergence (nats)", "changed tokens"],
      cells,
      2,
    )
  }`;
}

/** Pictures of the graph. */
export function graphSection(blocks: readonly GraphBlock[]): Markup {
  // What a reader came for is open; the others may be opened.
  const [largest] = blocks.toSorted((a, b) => b.weightBytes - a.weightBytes);
  return markup`<h2 id="graph">Graph</h2>
<p>As it runs, after all transforms; layers that are alike are drawn once. Drag to move, or use the arrow keys;
+ and - change the size, 0 shows all. The title of a box has its details.</p>
<ul class="legend" aria-label="Legend: kinds of operations">${
    ["attention", "experts", "linear", "norm", "other"].map((kind) =>
      markup`<li><svg width="14" height="14" aria-hidden="true"><g class="node ${kind}"><rect x="1" y="1" width="12" height="12" rx="3"/></g></svg> ${kind}</li>`
    )
  }</ul>
${blocks.map((block) => blockSection(block, block === largest))}`;
}

function blockSection(block: GraphBlock, isOpen: boolean): Markup {
  const layers = block.layers > 1 ? `, ${block.layers} layers` : "";
  const bytes = block.weightBytes > 0 ? `, ${formatBytes(block.weightBytes)} of weights` : "";
  return markup`<details class="block" ${isOpen ? "open" : ""}><summary>${block.title}${layers}: ${
    formatCount(block.nodes.length, "operation")
  }${bytes}</summary>
<div class="picture" tabindex="0" role="group" aria-label="Picture of ${block.title}; arrow keys move it">${
    blockPicture(block)
  }<div class="buttons"><button type="button" data-zoom="in" aria-label="Larger">+</button><button type="button" data-zoom="out" aria-label="Smaller">−</button><button type="button" data-zoom="all">all</button></div></div>
<details><summary>As a table</summary>${
    table(
      ["operation", "where", "gives", "weights", "bytes", "attributes"],
      block.nodes.map((node) => [
        operation(node),
        node.scope,
        node.types.join(", "),
        node.weights.join(", "),
        node.weightBytes > 0 ? formatBytes(node.weightBytes) : "",
        node.attrs.join(", "),
      ]),
      6,
    )
  }</details></details>
`;
}

function operation({ op, count }: BlockNode): string {
  return count > 1 ? `${op} × ${count}` : op;
}

/** What lies in memory. */
export function memorySection({ memory, formats }: ReportData): Markup {
  const total = memory.reduce((sum, [, bytes]) => sum + bytes, 0);
  return markup`<h2 id="memory">Memory</h2>
<p>${formatBytes(total)} in all.</p>
${bars(memory.map(([name, bytes]) => ({ name, part: bytes, text: formatBytes(bytes) })), total)}
<h3>Weights by format</h3>
${
    bars(
      formats.map(({ format, bytes, tensors }) => ({
        name: format,
        part: bytes,
        text: `${formatBytes(bytes)} in ${formatCount(tensors, "tensor")}`,
      })),
      formats.reduce((sum, { bytes }) => sum + bytes, 0),
    )
  }`;
}

interface Bar {
  readonly name: string;
  readonly part: number;
  readonly text: string;
}

function bars(entries: readonly Bar[], total: number): Markup {
  return markup`<table class="bars"><tbody>${
    entries.map(({ name, part, text }) =>
      markup`<tr><th scope="row">${name}</th><td class="bar"><span style="width:${
        total > 0 ? (100 * part / total).toFixed(2) : 0
      }%"></span></td><td>${text} (${formatShare(part, total)})</td></tr>`
    )
  }</tbody></table>`;
}

/** The dispatches of one decoding step, with their times. */
export function dispatchSection(dispatches: Measured<readonly DispatchGroup[]>): Markup {
  if ("missing" in dispatches) {
    return markup`<h2 id="dispatches">Dispatches</h2><p>Not timed: ${dispatches.missing}</p>`;
  }
  const groups = dispatches.value;
  const total = groups.reduce((sum, { seconds }) => sum + seconds, 0);
  const count = groups.reduce((sum, group) => sum + group.count, 0);
  return markup`<h2 id="dispatches">Dispatches</h2>
<p>One decoding step: ${formatCount(count, "dispatch")}, ${
    formatDispatchTime(total)
  } when each is timed alone (median of five
steps), which adds a few µs to each. Dispatches at the same place of every layer are one line, in the order in which they run.</p>
${
    table(
      ["kernel", "where", "count", "each", "together", "share"],
      groups.map(({ kernel, scope, count, seconds }) => [
        kernel,
        scope,
        count,
        formatDispatchTime(seconds / count),
        formatDispatchTime(seconds),
        formatShare(seconds, total),
      ]),
      2,
    )
  }`;
}

/** Which experts the sample chose. */
export function expertSection({ experts, sample }: ReportData): Markup {
  return markup`<h2 id="experts">Experts</h2>
<p>Choices by these tokens, one row a layer, one column an expert:</p>
<blockquote>${sample}</blockquote>
${
    "missing" in experts
      ? markup`<p>Not measured: ${experts.missing}</p>`
      : expertMap(experts.value)
  }`;
}

type Cell = Markup | string | number;

/** A table whose first `texts` columns are texts, and whose others are numbers. */
function table(head: readonly string[], rows: readonly (readonly Cell[])[], texts: number): Markup {
  const cls = (i: number) => i < texts ? "" : "number";
  return markup`<div class="wide"><table><thead><tr>${
    head.map((cell, i) => markup`<th class="${cls(i)}">${cell}</th>`)
  }</tr></thead><tbody>
${
    rows.map((row) =>
      markup`<tr>${row.map((cell, i) => markup`<td class="${cls(i)}">${cell}</td>`)}</tr>
`
    )
  }</tbody></table></div>`;
}
