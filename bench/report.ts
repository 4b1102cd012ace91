/**
 * `deno task bench:report`: compares MoE layers and measures whole models in one run, writes a page with
 * pictures and a JSON file with the same numbers beside it.
 *
 * @module
 */

import { resolve } from "node:path";
import { CommanderError } from "../deps/commander.ts";
import { DeviceError, messageOf, MixlineError, permissionHint } from "../graph/mod.ts";
import { checkOutputFile, writeOutputFile } from "../runtime/mod.ts";
import { benchDevice } from "./bench_device.ts";
import { chooseModels, planModels } from "./model_choice.ts";
import { formatModel } from "./model_section.ts";
import { formatRatios } from "./moe_ratios.ts";
import { drawCharts } from "./report_charts.ts";
import { reportCommand, type ReportFlags } from "./report_command.ts";
import { measureReport, type Report } from "./report_data.ts";
import { documentOf, writeReportFiles } from "./report_files.ts";
import { reportPage } from "./report_page.ts";

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
    const drawPage = async () => reportPage(report, await drawCharts(report));
    await writeReportFiles({ numbers, page }, report, drawPage);
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

/** What a terminal shows of a report. */
function formatReport({ ratios, models, leftOut }: Report): string {
  return [
    ...ratios ? [formatRatios(ratios)] : [],
    ...models.map(formatModel),
    ...leftOut.map((each) => `Left out: ${each}`),
  ].join("\n");
}

if (import.meta.main) {
  try {
    await reportCommand().action(writeReport).parseAsync(Deno.args, { from: "user" });
  } catch (error) {
    // Commander has already printed the error, or the help.
    if (error instanceof CommanderError) Deno.exit(error.exitCode === 0 ? 0 : 2);
    const advice = permissionHint(error) ?? (error instanceof MixlineError && error.hint);
    const hint = advice ? `\n${advice}` : "";
    console.error(`${messageOf(error)}${hint}`);
    Deno.exit(error instanceof MixlineError ? error.exitCode : 1);
  }
}
