/**
 * `deno task bench:report`: compares MoE layers and measures whole models in one run, writes a page with
 * pictures and a JSON file with the same numbers beside it.
 *
 * @module
 */

import { resolve } from "node:path";
import { Command, CommanderError, InvalidArgumentError } from "../deps/commander.ts";
import {
  DeviceError,
  messageOf,
  MixlineError,
  permissionHint,
  WEIGHT_FORMATS,
  type WeightFormat,
} from "../graph/mod.ts";
import { checkOutputFile, writeOutputFile } from "../runtime/mod.ts";
import { benchDevice } from "./bench_device.ts";
import { contestantNames } from "./moe_contest.ts";
import { chooseModels, planModels } from "./model_choice.ts";
import { formatModel } from "./model_section.ts";
import { LOAD_FORMATS } from "./model_result.ts";
import { formatRatios } from "./moe_ratios.ts";
import { drawCharts } from "./report_charts.ts";
import { measureReport, type Report } from "./report_data.ts";
import { reportPage } from "./report_page.ts";

interface ReportFlags {
  quick?: true;
  shapes?: string[];
  formats?: WeightFormat[];
  tokens?: number[];
  only?: string[];
  models?: string[];
  layers?: number;
  streams?: number[];
  minutes?: number;
  out: string;
  json?: true;
}

async function writeReport({ out, json, ...flags }: ReportFlags): Promise<void> {
  // A task runs in the project's folder; its user is elsewhere.
  const page = resolve(Deno.env.get("INIT_CWD") ?? Deno.cwd(), out);
  const numbers = page.replace(/(\.html?)?$/, ".json");
  [numbers, page].forEach(checkOutputFile);
  const device = await benchDevice();
  const say = (text: string) => console.error(text);
  say(`device  ${device.profile.description}`);
  const start = performance.now();
  const { models, layers, streams, ...choice } = flags;
  const { software } = device.profile;
  const report = await measureReport(device, {
    ...choice,
    models: chooseModels(models, software),
    plan: planModels(software, { quick: flags.quick, layers, streams }),
    say,
    onResult: (report) => keep(numbers, report, say),
    onFailure(error) {
      if (!(error instanceof DeviceError)) Deno.exitCode = 1;
    },
  });
  device.close();
  try {
    // First what took the time, then its picture.
    writeOutputFile(numbers, documentOf(report));
    writeOutputFile(page, reportPage(report, await drawCharts(report)));
  } finally {
    if (json) print(documentOf(report));
    else console.log(formatReport(report));
  }
  say(`${page}\n${numbers}\nin ${((performance.now() - start) / 1000).toFixed(0)} s`);
}

/** Writes what has been measured, whatever comes later; the last write says what is wrong with a file. */
function keep(path: string, report: Report, say: (text: string) => void): void {
  try {
    writeOutputFile(path, documentOf(report));
  } catch (error) {
    say(`  ${messageOf(error)}`);
  }
}

/** All of a text: a pipe takes a part at a time. */
function print(text: string): void {
  let rest = new TextEncoder().encode(text);
  while (rest.length > 0) rest = rest.subarray(Deno.stdout.writeSync(rest));
}

function documentOf(report: Report): string {
  return `${JSON.stringify(report, null, 2)}\n`;
}

/** What a terminal shows of a report. */
function formatReport({ ratios, models, leftOut }: Report): string {
  return [
    ...ratios ? [formatRatios(ratios)] : [],
    ...models.map(formatModel),
    ...leftOut.map((each) => `Left out: ${each}`),
  ].join("\n");
}

/** Parts of names with commas; `none` is no name. */
function names(text: string): string[] {
  return text === "none" ? [] : text.split(",");
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

function counts(text: string): number[] {
  return text.split(",").map((each) => {
    if (/^\s*[1-9]\d{0,6}\s*$/.test(each)) return Number(each);
    throw new InvalidArgumentError(`Expected whole numbers from 1, with commas, got "${each}".`);
  });
}

function count(text: string): number {
  const [first, ...others] = counts(text);
  if (others.length === 0) return first;
  throw new InvalidArgumentError(`Expected one whole number from 1, got "${text}".`);
}

if (import.meta.main) {
  const command = new Command("bench:report")
    .description("Compare MoE layers and measure whole models in one run, and draw the result")
    .option("--quick", "fewer numbers of tokens, formats, prompts, streams and rounds")
    .option("--shapes <list>", "layers by name of the model or part of it, or none", names)
    .option("--formats <list>", `weights: ${WEIGHT_FORMATS.join(", ")}`, words(WEIGHT_FORMATS))
    .option("--tokens <list>", "tokens per step", counts)
    .option(
      "--only <list>",
      `contestants: ${contestantNames().join(", ")}`,
      words(contestantNames()),
    )
    .option(
      "--models <list>",
      `whole models by name or part of it, or none; olmoe:int8 is quantized while it loads (${
        LOAD_FORMATS.join(", ")
      }); default: OLMoE-1B-7B`,
      names,
    )
    .option("--layers <n>", "most layers of a whole model; default: as many as fit", count)
    .option("--streams <list>", "answers at once", counts)
    .option("--minutes <n>", "begin nothing later than so many minutes after the start", count)
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
