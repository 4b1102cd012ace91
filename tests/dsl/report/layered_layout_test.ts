/**
 * The layout of the report's pictures, on random graphs.
 *
 * @module
 */

import assert from "node:assert/strict";
import { layeredLayout } from "../../../dsl/report/layered_layout.ts";
import fc from "../../../deps/fast_check.ts";

const SIZES = { boxWidth: 20, boxHeight: 10, gapX: 4, gapY: 6, laneWidth: 2 };

/**
 * Graphs whose boxes are in topological order. Every edge is built from the box it leaves and the
 * distance it goes, as a filter would search forever in a graph of one box, which has no edge.
 */
const graphs = fc.integer({ min: 1, max: 24 }).chain((count) => {
  const edges = fc.nat(Math.max(0, count - 2)).chain((from) =>
    fc.tuple(fc.constant(from), fc.integer({ min: from + 1, max: Math.max(count - 1, 1) }))
  );
  return fc.record({
    count: fc.constant(count),
    edges: fc.uniqueArray(edges, { maxLength: count === 1 ? 0 : 40, selector: String }),
  });
});

Deno.test("boxes of a layout never overlap, lie inside, and edges lead down from box to box", () => {
  fc.assert(fc.property(graphs, ({ count, edges }) => {
    const { boxes, paths, width, height } = layeredLayout(count, edges, SIZES);
    assert.equal(boxes.length, count);
    for (const { x, y } of boxes) {
      assert.ok(x >= SIZES.boxWidth / 2 && x <= width - SIZES.boxWidth / 2);
      assert.ok(y >= SIZES.boxHeight / 2 && y <= height - SIZES.boxHeight / 2);
    }
    boxes.forEach((a, i) => {
      for (const b of boxes.slice(i + 1)) {
        assert.ok(a.y !== b.y || Math.abs(a.x - b.x) >= SIZES.boxWidth);
      }
    });
    edges.forEach(([from, to], i) => {
      const path = paths[i];
      assert.deepEqual([path[0], path.at(-1)], [boxes[from], boxes[to]]);
      path.slice(1).forEach(({ y }, row) => assert.ok(y > path[row].y));
    });
  }));
});

Deno.test("a layout of one chain is one column", () => {
  const { boxes } = layeredLayout(3, [[0, 1], [1, 2]], SIZES);
  assert.equal(new Set(boxes.map(({ x }) => x)).size, 1);
  assert.deepEqual(boxes.map(({ y }) => y), [5, 21, 37]);
});
