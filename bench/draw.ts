/**
 * Pictures as SVG, made by Vega-Lite without a browser. Text and lines are drawn in `currentColor`, so
 * that a page may be light or dark.
 *
 * @module
 */

import { compile, type Config, type TopLevelSpec } from "../deps/vega_lite.ts";
import { Error as ERROR_LEVEL, parse, View } from "../deps/vega.ts";

/** A picture with its words. */
export interface Chart {
  readonly title: string;
  readonly text: string;
  readonly svg: string;
}

/** The colour of the text around a picture. */
export const INK = "currentColor";
const FONT = "system-ui, sans-serif";

const CONFIG: Config = {
  background: "transparent",
  font: FONT,
  axis: {
    ...{ labelColor: INK, titleColor: INK, domainColor: INK, tickColor: INK, gridColor: INK },
    ...{ gridOpacity: 0.14, domainOpacity: 0.5, tickOpacity: 0.5 },
    ...{ labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
  },
  legend: {
    ...{ labelColor: INK, titleColor: INK, labelFontSize: 12, titleFontSize: 12 },
    ...{ labelLimit: 260, symbolSize: 90, symbolBaseFillColor: INK, symbolBaseStrokeColor: INK },
  },
  header: { labelColor: INK, titleColor: INK, labelFontSize: 13, labelFontWeight: "bold" },
  view: { stroke: INK, strokeOpacity: 0.2 },
};

/** Draws a picture. */
export async function draw(
  title: string,
  text: string,
  spec: Partial<TopLevelSpec>,
): Promise<Chart> {
  const whole = { ...spec, config: CONFIG, padding: 8 } as TopLevelSpec;
  const view = new View(parse(compile(whole).spec), { renderer: "none", logLevel: ERROR_LEVEL });
  try {
    return { title, text, svg: await view.toSVG() };
  } finally {
    view.finalize();
  }
}
