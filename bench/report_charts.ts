/**
 * The pictures of a report: of its layers here, and those of whole models.
 *
 * @module
 */

import type { TopLevelSpec } from "../deps/vega_lite.ts";
import { type Chart, draw, INK } from "./draw.ts";
import { drawModels } from "./model_charts.ts";
import type { Report, ReportCase } from "./report_data.ts";
import { formatRate } from "./statistics.ts";

/** Colours that stand out on white and on black; also told apart by their marks. */
const COLORS: Readonly<Record<string, string>> = {
  auto: "#e8590c",
  triton: "#228be6",
  trtllm: "#37b24d",
  unfused: "#868e96",
  cpu: "#be4bdb",
};
const OTHERS = ["#f59f00", "#15aabf", "#e64980"];

/** The pictures of a report. */
export interface ReportCharts {
  readonly models: readonly Chart[];
  readonly layers: readonly Chart[];
}

/** All pictures of a report. */
export async function drawCharts(report: Report): Promise<ReportCharts> {
  const layers = report.cases.length === 0 ? [] : await drawLayers(report);
  return { models: await drawModels(report.models), layers };
}

async function drawLayers(report: Report): Promise<readonly Chart[]> {
  // One format per picture: that of most layers.
  const shown = report.cases.find(({ format }) => format === "bf16") ?? report.cases[0];
  const plain = report.cases.filter(({ format }) => format === shown?.format);
  const { readBytesPerSecond, flopsPerSecond } = report.ceilings;
  const hasBaseline = plain.some(({ times }) => times.some(({ name }) => name === "unfused"));
  return await Promise.all([
    draw(
      "Time of a layer",
      `One MoE layer in ${shown?.format}, median over rounds. Both axes are logarithmic; lower is better.`,
      timeSpec(plain),
    ),
    draw(
      "Roofline",
      `The line is what this device reached in the same run: ${
        formatRate(readBytesPerSecond, "B/s")
      } read and ${
        formatRate(flopsPerSecond, "FLOP/s")
      } of f32 multiply-add. A layer reads the weights of its experts in use and computes; ` +
        "points above the slope found weights in a cache.",
      rooflineSpec(report, plain),
    ),
    draw(
      "Share of the ceilings",
      "What auto reaches of the ceilings measured in this run: few tokens are limited by reading weights, many by arithmetic.",
      shareSpec(plain),
    ),
    draw(
      "Dispatches of a layer",
      "Counted from the lists that were timed" +
        (hasBaseline ? "; the baseline has six for each expert in use." : "."),
      dispatchSpec(plain),
    ),
  ]);
}

/** Rows for a chart: one for each case and contestant. */
function rowsOf(cases: readonly ReportCase[]) {
  return cases.flatMap(({ shape, tokens, flops, activeWeightBytes, times }) =>
    times.map((time) => ({
      shape,
      tokens,
      name: time.name,
      microseconds: time.seconds.median * 1e6,
      dispatches: time.dispatches,
      intensity: flops / activeWeightBytes,
      gflops: time.flopsPerSecond / 1e9,
      ofReadBandwidth: time.ofReadBandwidth,
      ofFlops: time.ofFlops,
    }))
  );
}

type Rows = ReturnType<typeof rowsOf>;

function colorOf(rows: Rows) {
  const names = [...new Set(rows.map(({ name }) => name))].sort();
  const others = names.filter((name) => !(name in COLORS));
  const range = names.map((name) => COLORS[name] ?? OTHERS[others.indexOf(name) % OTHERS.length]);
  return { field: "name", type: "nominal", scale: { domain: names, range }, title: "computed by" };
}

function tokensAxis(rows: Rows) {
  const values = [...new Set(rows.map(({ tokens }) => tokens))];
  return {
    field: "tokens",
    type: "quantitative",
    scale: { type: "log", base: 2 },
    axis: {
      values,
      title: "tokens per step (T)",
      format: "d",
      grid: false,
      labelOverlap: false,
      labelFlush: false,
    },
  };
}

/** One small chart for each value of a field, in the order of the rows. */
function facetOf(values: Rows, field: string, columns: number) {
  return {
    ...{ data: { values }, facet: { field, type: "nominal", title: null, sort: null }, columns },
    // A shared axis would be drawn below a place without a chart, too.
    resolve: { axis: { x: "independent" } },
  };
}

/** Lines with a filled mark at each measurement. */
const LINES = { type: "line", point: { size: 55, filled: true }, strokeWidth: 2 };

function timeSpec(cases: readonly ReportCase[]): Partial<TopLevelSpec> {
  const rows = rowsOf(cases);
  const color = colorOf(rows);
  return {
    ...facetOf(rows, "shape", 3),
    spec: {
      width: 260,
      height: 200,
      mark: LINES,
      encoding: {
        x: tokensAxis(rows),
        y: {
          field: "microseconds",
          type: "quantitative",
          scale: { type: "log" },
          axis: { title: "time (µs)", format: ",~g", tickCount: 5 },
        },
        color,
        shape: {
          field: "name",
          type: "nominal",
          scale: { domain: color.scale.domain },
          title: "computed by",
        },
      },
    },
  } as Partial<TopLevelSpec>;
}

function rooflineSpec(report: Report, cases: readonly ReportCase[]): Partial<TopLevelSpec> {
  const rows = rowsOf(cases).filter(({ name }) => name !== "cpu");
  const { readBytesPerSecond, flopsPerSecond } = report.ceilings;
  const ridge = flopsPerSecond / readBytesPerSecond;
  const xs = rows.map(({ intensity }) => intensity);
  const [left, right] = [Math.min(...xs, ridge) / 1.5, Math.max(...xs, ridge) * 1.5];
  const roof = [left, ridge, right].map((intensity) => ({
    intensity,
    gflops: Math.min(intensity * readBytesPerSecond, flopsPerSecond) / 1e9,
  }));
  const color = colorOf(rows);
  const x = {
    field: "intensity",
    type: "quantitative",
    scale: { type: "log", domain: [left, right], nice: false },
    axis: {
      title: "operations for each byte of active weights (FLOP/B)",
      format: ",~g",
      tickCount: 6,
    },
  };
  const y = {
    field: "gflops",
    type: "quantitative",
    scale: { type: "log" },
    axis: { title: "GFLOP/s", format: ",~g", tickCount: 6 },
  };
  return {
    width: 720,
    height: 340,
    layer: [
      {
        data: { values: roof },
        mark: { type: "line", stroke: INK, strokeWidth: 2, strokeDash: [6, 4] },
        encoding: { x, y },
      },
      {
        data: { values: rows },
        mark: { type: "point", size: 70, filled: true, opacity: 0.9 },
        encoding: {
          ...{ x, y, color },
          shape: { field: "shape", type: "nominal", sort: null, title: "layer" },
        },
      },
    ],
  } as Partial<TopLevelSpec>;
}

function shareSpec(cases: readonly ReportCase[]): Partial<TopLevelSpec> {
  const auto = rowsOf(cases).filter(({ name }) => name === "auto");
  const rows = auto.flatMap((row) => [
    { ...row, what: "of the read bandwidth", share: row.ofReadBandwidth },
    { ...row, what: "of the f32 peak", share: row.ofFlops },
  ]);
  return {
    ...facetOf(rows, "what", 2),
    spec: {
      width: 330,
      height: 220,
      mark: LINES,
      encoding: {
        x: tokensAxis(auto),
        y: {
          field: "share",
          type: "quantitative",
          // Marks at the top would move a title up.
          scale: { domain: [0, 1.1 * Math.max(...rows.map(({ share }) => share))] },
          axis: { title: "share of the ceiling", format: ".0%" },
        },
        color: {
          field: "shape",
          type: "nominal",
          sort: null,
          title: "layer",
          scale: { range: [...Object.values(COLORS), ...OTHERS] },
        },
        shape: { field: "shape", type: "nominal", sort: null, title: "layer" },
      },
    },
  } as Partial<TopLevelSpec>;
}

function dispatchSpec(cases: readonly ReportCase[]): Partial<TopLevelSpec> {
  const rows = rowsOf(cases).filter(({ name }) => name !== "cpu");
  const color = colorOf(rows);
  return {
    ...facetOf(rows, "shape", 3),
    spec: {
      width: 260,
      height: 150,
      layer: [
        { mark: { type: "bar" }, encoding: { color } },
        {
          mark: { type: "text", dy: -6, fontSize: 10, fill: INK },
          encoding: { text: { field: "dispatches", type: "quantitative" } },
        },
      ],
      encoding: {
        x: {
          field: "tokens",
          type: "ordinal",
          axis: { title: "tokens per step (T)", labelAngle: 0 },
        },
        xOffset: { field: "name", type: "nominal", sort: color.scale.domain },
        y: {
          field: "dispatches",
          type: "quantitative",
          // The number on the longest bar is within the chart.
          scale: {
            type: "symlog",
            domain: [0, 2 * Math.max(...rows.map(({ dispatches }) => dispatches))],
          },
          axis: { title: "dispatches", values: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] },
        },
      },
    },
  } as Partial<TopLevelSpec>;
}
