/**
 * The picture of a block of the graph as SVG: a box for each node, edges from top to bottom.
 *
 * @module
 */

import { formatBytes, formatCount } from "./format.ts";
import type { BlockNode, GraphBlock } from "./graph_blocks.ts";
import { layeredLayout, type Point } from "./layered_layout.ts";
import { type Markup, markup } from "./markup.ts";

const SIZES = { boxWidth: 216, boxHeight: 62, gapX: 22, gapY: 34, laneWidth: 10 };
const MARGIN = 12;
/** Boxes of one picture; what is more is in the table below it. */
const MOST_BOXES = 300;
/** Characters of a line in a box. */
const LINE = 32;

/** The picture; the first box stands for what comes from outside the block. */
export function blockPicture(block: GraphBlock): Markup {
  const nodes = block.nodes.slice(0, MOST_BOXES);
  const edges = block.edges.filter(([, to]) => to < nodes.length)
    .map(([from, to]) => [from + 1, to + 1] as const);
  const layout = layeredLayout(nodes.length + 1, edges, SIZES);
  const width = layout.width + 2 * MARGIN;
  const height = layout.height + 2 * MARGIN;
  const count = formatCount(block.nodes.length, "operation");
  const label = `Graph of ${block.title}: ${count}, listed below`;
  return markup`<svg viewBox="0 0 ${round(width)} ${round(height)}" width="${
    round(width)
  }" height="${
    round(height)
  }" role="img" aria-label="${label}"><g transform="translate(${MARGIN} ${MARGIN})">
${layout.paths.map(edgePath)}
${outsideBox(layout.boxes[0])}
${nodes.map((node, i) => nodeBox(node, layout.boxes[i + 1]))}
</g></svg>`;
}

function outsideBox({ x, y }: Point): Markup {
  return markup`<text class="outside" x="${round(x)}" y="${
    round(y + SIZES.boxHeight / 2 - 6)
  }">inputs</text>`;
}

function nodeBox(node: BlockNode, { x, y }: Point): Markup {
  const { boxWidth, boxHeight } = SIZES;
  const count = node.count > 1 ? ` × ${node.count}` : "";
  const weights = node.weightBytes > 0 ? ` · ${formatBytes(node.weightBytes)}` : "";
  const details = [`${node.op}${count}`, node.scope, ...node.types, ...node.attrs, ...node.weights];
  return markup`<g class="node ${node.kind}" transform="translate(${round(x - boxWidth / 2)} ${
    round(y - boxHeight / 2)
  })"><title>${details.join("\n")}</title><rect width="${boxWidth}" height="${boxHeight}" rx="6"/>
<text x="10" y="18" class="op">${cut(node.op + count)}</text>
<text x="10" y="36">${cut(node.scope)}</text>
<text x="10" y="53">${cut(node.types[0] + weights)}</text></g>
`;
}

/** A smooth line through the middle of every gap between rows. */
function edgePath(points: readonly Point[]): Markup {
  const half = SIZES.boxHeight / 2;
  const last = points.length - 1;
  let path = `M${round(points[0].x)} ${round(points[0].y + half)}`;
  points.slice(1).forEach((to, i) => {
    const from = points[i];
    const [top, bottom] = [from.y + half, to.y - half];
    const middle = round((top + bottom) / 2);
    path += `C${round(from.x)} ${middle} ${round(to.x)} ${middle} ${round(to.x)} ${round(bottom)}`;
    if (i + 1 < last) path += `V${round(to.y + half)}`;
  });
  return markup`<path class="edge" d="${path}"/>
`;
}

function cut(text: string): string {
  return text.length > LINE ? `${text.slice(0, LINE - 1)}…` : text;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
