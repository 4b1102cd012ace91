/**
 * Places the boxes of a small directed graph in rows, so that edges lead downwards. Sugiyama's method
 * (1981): rows by longest path, an invisible box in each row that an edge crosses, order within rows
 * by the mean place of the neighbours, which leaves few crossings.
 *
 * @module
 */

/** Sizes in units of the picture. */
export interface LayoutSizes {
  readonly boxWidth: number;
  readonly boxHeight: number;
  readonly gapX: number;
  readonly gapY: number;
  /** Width that an edge takes beside boxes that it passes. */
  readonly laneWidth: number;
}

/** Centre of a box, or a point that an edge passes. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Where everything is. */
export interface Layout {
  readonly width: number;
  readonly height: number;
  /** Centres of the boxes. */
  readonly boxes: readonly Point[];
  /** From box to box through every row between them, in the order of the edges. */
  readonly paths: readonly (readonly Point[])[];
}

/** A box of the graph, or the place of an edge in a row that it crosses. */
interface Item {
  readonly row: number;
  readonly width: number;
  readonly above: Item[];
  readonly below: Item[];
  x: number;
}

/** Passes over all rows; more change nothing that is seen. */
const SWEEPS = 6;

/**
 * Lays out `count` boxes. Edges that lead against the order of the boxes are left out of the rows.
 *
 * @example
 * ```ts
 * import { layeredLayout } from "./layered_layout.ts";
 * const sizes = { boxWidth: 10, boxHeight: 4, gapX: 2, gapY: 2, laneWidth: 2 };
 * const { boxes } = layeredLayout(3, [[0, 1], [0, 2]], sizes);
 * console.assert(boxes[1].y === boxes[2].y && boxes[0].y < boxes[1].y);
 * ```
 */
export function layeredLayout(
  count: number,
  edges: readonly (readonly [number, number])[],
  sizes: LayoutSizes,
): Layout {
  const rowOf = rowsByLongestPath(count, edges);
  const items = rowOf.map((row): Item => newItem(row, sizes.boxWidth));
  const rows: Item[][] = Array.from({ length: Math.max(0, ...rowOf) + 1 }, () => []);
  for (const item of items) rows[item.row].push(item);
  const chains = edges.map(([from, to]) => chainOf(items[from], items[to], rows, sizes.laneWidth));
  placeInOrder(rows, sizes.gapX);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    const order = down ? rows : rows.toReversed();
    for (const row of order) sortByNeighbours(row, down ? "above" : "below");
    placeInOrder(rows, sizes.gapX);
  }
  const left = Math.min(0, ...rows.flat().map(({ x, width }) => x - width / 2));
  const right = Math.max(0, ...rows.flat().map(({ x, width }) => x + width / 2));
  const stride = sizes.boxHeight + sizes.gapY;
  const point = ({ x, row }: Item): Point => ({
    x: x - left,
    y: row * stride + sizes.boxHeight / 2,
  });
  return {
    width: right - left,
    height: rows.length * stride - sizes.gapY,
    boxes: items.map(point),
    paths: chains.map((chain) => chain.map(point)),
  };
}

function newItem(row: number, width: number): Item {
  return { row, width, above: [], below: [], x: 0 };
}

function rowsByLongestPath(count: number, edges: readonly (readonly [number, number])[]): number[] {
  const rows = Array<number>(count).fill(0);
  const ordered = edges.filter(([from, to]) => from < to).sort((a, b) => a[0] - b[0]);
  for (const [from, to] of ordered) rows[to] = Math.max(rows[to], rows[from] + 1);
  return rows;
}

/** The items of an edge from top to bottom, with a new one in each row between. */
function chainOf(from: Item, to: Item, rows: Item[][], laneWidth: number): Item[] {
  const chain = [from];
  for (let row = from.row + 1; row < to.row; row++) {
    const lane = newItem(row, laneWidth);
    rows[row].push(lane);
    chain.push(lane);
  }
  chain.push(to);
  for (let i = 1; i < chain.length; i++) {
    chain[i].above.push(chain[i - 1]);
    chain[i - 1].below.push(chain[i]);
  }
  return chain;
}

/** Side by side in their order, each row around x = 0. */
function placeInOrder(rows: readonly Item[][], gap: number): void {
  for (const row of rows) {
    const width = row.reduce((sum, item) => sum + item.width, 0) + gap * (row.length - 1);
    let x = -width / 2;
    for (const item of row) {
      item.x = x + item.width / 2;
      x += item.width + gap;
    }
  }
}

function sortByNeighbours(row: Item[], side: "above" | "below"): void {
  const wish = new Map(row.map((item) => {
    const neighbours = item[side];
    const sum = neighbours.reduce((total, { x }) => total + x, 0);
    return [item, neighbours.length === 0 ? item.x : sum / neighbours.length];
  }));
  row.sort((a, b) => (wish.get(a) ?? 0) - (wish.get(b) ?? 0));
}
