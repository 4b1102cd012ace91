/**
 * How often each expert of each layer is chosen, as a map of shades and as a table.
 *
 * @module
 */

import type { ExpertLoad } from "../../runtime/mod.ts";
import { formatCount } from "./format.ts";
import { type Markup, markup } from "./markup.ts";

/** Shades besides "never". */
const SHADES = 5;
const CELL_HEIGHT = 18;
const LABEL_WIDTH = 74;
/** Experts that the table names for each layer. */
const NAMED = 4;

/** The map, its legend, and the same as a table. */
export function expertMap(loads: readonly ExpertLoad[]): Markup {
  const experts = Math.max(...loads.map(({ counts }) => counts.length));
  const most = Math.max(1, ...loads.flatMap(({ counts }) => counts));
  const shadeOf = (count: number) => count === 0 ? 0 : Math.ceil(count / most * SHADES);
  const cell = cellWidth(experts);
  const width = LABEL_WIDTH + experts * cell;
  const height = (loads.length + 1) * CELL_HEIGHT;
  const label =
    `Choices of ${formatCount(experts, "expert")} in ${formatCount(loads.length, "layer")}; ` +
    `the table below has the busiest`;
  return markup`<div class="wide"><svg class="map" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${label}">
${loads.map(({ counts, scope }, row) => mapRow(shortScope(scope), counts.map(shadeOf), row, cell))}
${axis(experts, loads.length, cell)}
</svg></div>
${legend(most)}
<details><summary>As a table</summary><div class="wide"><table>
<thead><tr><th>layer</th><th>choices</th><th>experts used</th><th>most over mean</th><th>busiest experts</th></tr></thead>
<tbody>${loads.map(tableRow)}</tbody></table></div></details>`;
}

/** Few experts get wide cells, many still fit on a screen. */
function cellWidth(experts: number): number {
  return Math.min(28, Math.max(8, Math.floor(1024 / experts)));
}

/** One path for each shade of a row: thousands of single squares would make a large page. */
function mapRow(name: string, shades: readonly number[], row: number, cell: number): Markup {
  const y = row * CELL_HEIGHT;
  const cells = Array.from({ length: SHADES + 1 }, (_, shade) => {
    const at = shades.flatMap((each, i) => each === shade ? [i] : []);
    if (at.length === 0) return "";
    const path = at.map((i) =>
      `M${LABEL_WIDTH + i * cell} ${y}h${cell - 1}v${CELL_HEIGHT - 1}h${1 - cell}z`
    ).join("");
    return markup`<path class="shade-${shade}" d="${path}"/>`;
  });
  return markup`<text x="0" y="${y + 13}">${name}</text>${cells}
`;
}

/** Numbers of experts below the map. */
function axis(experts: number, rows: number, cell: number): Markup {
  const step = experts > 64 ? 16 : experts > 16 ? 8 : 2;
  const marks = Array.from({ length: Math.ceil(experts / step) }, (_, i) => i * step);
  const y = rows * CELL_HEIGHT + 13;
  return markup`${
    marks.map((i) => markup`<text x="${LABEL_WIDTH + i * cell}" y="${y}">${i}</text>`)
  }`;
}

function legend(most: number): Markup {
  const entries = Array.from({ length: SHADES + 1 }, (_, shade) => {
    const low = shade === 0 ? 0 : Math.floor((shade - 1) * most / SHADES) + 1;
    const high = shade === 0 ? 0 : Math.floor(shade * most / SHADES);
    return { shade, low, high };
  }).filter(({ low, high }) => low <= high);
  const text = (low: number, high: number) =>
    high === 0 ? "never" : low === high ? String(low) : `${low} to ${high}`;
  return markup`<ul class="legend" aria-label="Legend: choices by shade">${
    entries.map(({ shade, low, high }) =>
      markup`<li><svg width="14" height="14" aria-hidden="true"><path class="shade-${shade}" d="M0 0h14v14h-14z"/></svg> ${
        text(low, high)
      }</li>`
    )
  }</ul>`;
}

function tableRow({ scope, counts }: ExpertLoad): Markup {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const busiest = counts.map((count, expert) => ({ count, expert }))
    .sort((a, b) => b.count - a.count).slice(0, NAMED).filter(({ count }) => count > 0);
  const ratio = total > 0 ? Math.max(...counts) * counts.length / total : 0;
  return markup`<tr><td>${scope}</td><td>${total}</td><td>${
    counts.filter((count) => count > 0).length
  } of ${counts.length}</td><td>${ratio.toFixed(1)}</td><td>${
    busiest.map(({ expert, count }) => `${expert} (${count})`).join(", ")
  }</td></tr>
`;
}

/** `layer 3` of `model.layers.3.mlp`. */
function shortScope(scope: string): string {
  const number = scope.match(/\.(\d+)(\.|$)/)?.[1];
  return number === undefined ? scope : `layer ${number}`;
}
