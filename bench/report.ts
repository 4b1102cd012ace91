/**
 * `deno task bench:report [--quick] [--out FILE] [--json]`: compares MoE layers in one run, writes a
 * page with pictures and a JSON file with the same numbers beside it.
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import { Command, CommanderError } from "@commander-js/extra-typings";
import { DeviceError, messageOf, MixlineError } from "../graph/mod.ts";
import { benchDevice } from "./bench_device.ts";
import { formatRatios } from "./moe_ratios.ts";
import { drawCharts } from "./report_charts.ts";
import { measureReport } from "./report_data.ts";
import { reportPage } from "./report_page.ts";

async function writeReport(flags: { quick?: true; out: string; json?: true }): Promise<void> {
  const device = await benchDevice();
  const say = (text: string) => console.error(text);
  say(`device  ${device.profile.description}`);
  const start = performance.now();
  const report = await measureReport(device, {
    quick: flags.quick ?? false,
    onCase: (title, done, total) => say(`${done + 1} of ${total}  ${title}`),
  });
  device.close();
  // A task runs in the project's folder; its user is elsewhere.
  const page = resolve(Deno.env.get("INIT_CWD") ?? Deno.cwd(), flags.out);
  const numbers = page.replace(/(\.html?)?$/, ".json");
  const json = `${JSON.stringify(report, null, 2)}\n`;
  await Deno.mkdir(dirname(page), { recursive: true });
  await Deno.writeTextFile(page, reportPage(report, await drawCharts(report)));
  await Deno.writeTextFile(numbers, json);
  if (flags.json) Deno.stdout.writeSync(new TextEncoder().encode(json));
  else if (report.ratios) console.log(formatRatios(report.ratios));
  say(`${page}\n${numbers}\nin ${((performance.now() - start) / 1000).toFixed(0)} s`);
}

if (import.meta.main) {
  const command = new Command("bench:report")
    .description("Compare MoE layers in one run and draw the result")
    .option("--quick", "fewer numbers of tokens, formats and rounds")
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
    // Commander has said what is wrong, or what was asked for.
    if (error instanceof CommanderError) Deno.exit(error.exitCode === 0 ? 0 : 2);
    const hint = error instanceof MixlineError && error.hint ? `\n${error.hint}` : "";
    console.error(`${messageOf(error)}${hint}`);
    Deno.exit(error instanceof DeviceError ? 5 : 1);
  }
}
