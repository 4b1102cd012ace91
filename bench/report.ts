/**
 * `deno task bench:report`: compares MoE layers in one run, writes a page with pictures and a JSON file
 * with the same numbers beside it.
 *
 * @module
 */

import { resolve } from "node:path";
import { Command, CommanderError, InvalidArgumentError } from "../deps/commander.ts";
import {
  messageOf,
  MixlineError,
  permissionHint,
  WEIGHT_FORMATS,
  type WeightFormat,
} from "../graph/mod.ts";
import { checkOutputFile, writeOutputFile } from "../runtime/mod.ts";
import { benchDevice } from "./bench_device.ts";
import { contestantNames } from "./moe_contest.ts";
import { formatRatios } from "./moe_ratios.ts";
import { drawCharts } from "./report_charts.ts";
import { measureReport } from "./report_data.ts";
import { reportPage } from "./report_page.ts";

interface ReportFlags {
  quick?: true;
  shapes?: string[];
  formats?: WeightFormat[];
  tokens?: number[];
  only?: string[];
  out: string;
  json?: true;
}

async function writeReport({ out, json, ...choice }: ReportFlags): Promise<void> {
  // A task runs in the project's folder; its user is elsewhere.
  const page = resolve(Deno.env.get("INIT_CWD") ?? Deno.cwd(), out);
  const numbers = page.replace(/(\.html?)?$/, ".json");
  [numbers, page].forEach(checkOutputFile);
  const device = await benchDevice();
  const say = (text: string) => console.error(text);
  say(`device  ${device.profile.description}`);
  const start = performance.now();
  const report = await measureReport(device, {
    ...choice,
    onCase: (title, done, total) => say(`${done + 1} of ${total}  ${title}`),
  });
  device.close();
  const document = `${JSON.stringify(report, null, 2)}\n`;
  try {
    // First what took the time, then its picture.
    writeOutputFile(numbers, document);
    writeOutputFile(page, reportPage(report, await drawCharts(report)));
  } finally {
    if (json) Deno.stdout.writeSync(new TextEncoder().encode(document));
    else if (report.ratios) console.log(formatRatios(report.ratios));
  }
  say(`${page}\n${numbers}\nin ${((performance.now() - start) / 1000).toFixed(0)} s`);
}

/** A list with commas, each of one of some words. */
function words<Word extends string>(known: readonly Word[]): (text: string) => Word[] {
  return (text) =>
    text.split(",").map((each) => {
      const found = known.find((word) => word === each.trim());
      if (found !== undefined) return found;
      throw new InvalidArgumentError(`Expected ${known.join(", ")}, got "${each.trim()}".`);
    });
}

function tokenCounts(text: string): number[] {
  return text.split(",").map((each) => {
    if (/^\s*[1-9]\d{0,6}\s*$/.test(each)) return Number(each);
    throw new InvalidArgumentError(`Expected whole numbers from 1, with commas, got "${each}".`);
  });
}

if (import.meta.main) {
  const command = new Command("bench:report")
    .description("Compare MoE layers in one run and draw the result")
    .option("--quick", "fewer numbers of tokens, formats and rounds")
    .option("--shapes <list>", "models by name or part of a name", (text) => text.split(","))
    .option("--formats <list>", `weights: ${WEIGHT_FORMATS.join(", ")}`, words(WEIGHT_FORMATS))
    .option("--tokens <list>", "tokens per step", tokenCounts)
    .option(
      "--only <list>",
      `contestants: ${contestantNames().join(", ")}`,
      words(contestantNames()),
    )
    .option(
      "--out <file>",
      "the page; numbers go into a .json file beside it",
      "bench/results/report.html",
    )
    .option("--json", "print the numbers")
    .action(writeReport);
  try {
    await command.exitOverride().parseAsync(Deno.args, { from: "user" });
  } catch (error) {
    // Commander has already printed the error, or the help.
    if (error instanceof CommanderError) Deno.exit(error.exitCode === 0 ? 0 : 2);
    const advice = permissionHint(error) ?? (error instanceof MixlineError && error.hint);
    const hint = advice ? `\n${advice}` : "";
    console.error(`${messageOf(error)}${hint}`);
    Deno.exit(error instanceof MixlineError ? error.exitCode : 1);
  }
}
