/**
 * The flags of `deno task bench:report`.
 *
 * @module
 */

import { Command, InvalidArgumentError } from "../deps/commander.ts";
import { WEIGHT_FORMATS, type WeightFormat } from "../graph/mod.ts";
import { contestantNames } from "./moe_contest.ts";
import { LOAD_FORMATS } from "./model_result.ts";

/** What they give. */
export interface ReportFlags {
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

/** The command, without what it does. */
export function reportCommand() {
  return new Command("bench:report")
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
    .exitOverride();
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
