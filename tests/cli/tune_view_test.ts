import assert from "node:assert/strict";
import { styleOf } from "../../cli/terminal.ts";
import { TuneView } from "../../cli/tune_view.ts";

/** What a view says on stderr, the lines of the device left out. */
function linesOf(body: (view: TuneView) => void): string[] {
  const lines: string[] = [];
  const say = (line: string) => void lines.push(line);
  const view = new TuneView(
    {
      ...{ result: say, progress: say, complain: say, live: say },
      ...{ style: styleOf(false), resultStyle: styleOf(false), isLive: true, json: false },
    },
    "a device",
    { readBytesPerSecond: 1e9, flopsPerSecond: 1e12, dispatchSeconds: 1e-6, clock: "wall clock" },
  );
  body(view);
  return lines.slice(2);
}

Deno.test("TuneView counts one row, some rows and no rows", () => {
  const lines = linesOf((view) => {
    view.table("a.json", "tuned", 0, 1);
    view.table("a.json", "tuned", 1, 2);
    view.table("a.json", "tuned", 2, 0);
  });
  assert.deepEqual(lines, [
    "table   tuned/a.json: 1 row to measure",
    "table   tuned/a.json: 2 rows to measure, 1 row is there already",
    "table   tuned/a.json: 0 rows to measure, 2 rows are there already",
  ]);
});

Deno.test("TuneView says which candidate is tried and how many rows follow, where any do", () => {
  const step = { tokens: 8, done: 1, total: 1, bestSeconds: undefined };
  const lines = linesOf((view) => {
    view.table("a.json", "tuned", 0, 3);
    view.progress(step);
    view.row(4, "a row");
    view.progress({ ...step, done: 2, total: 2, bestSeconds: 0.002 });
    view.row(8, "a row");
    view.progress(step);
  });
  const rest = lines.slice(1).map((line) => line.replace(/at least \S+ \S+ left/, "some left"));
  assert.deepEqual(rest, [
    "T=8  1 of 1 candidate, best none yet, some left, then 2 rows",
    "T=4     a row\n",
    "T=8  2 of 2 candidates, best 2.00 ms, some left, then 1 row",
    "T=8     a row\n",
    "T=8  1 of 1 candidate, best none yet, some left",
  ]);
});
