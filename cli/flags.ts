/**
 * Reading flags: checks of numbers, and commander's errors as our own.
 *
 * @module
 */

import type { CommanderError, CommandUnknownOpts } from "../deps/commander.ts";
import { ConfigError, nearest } from "../graph/mod.ts";

/** Reads a flag's number; its range is checked where it is used. */
export function numberFlag(flag: string): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? NaN : Number(text);
    if (Number.isFinite(value)) return value;
    throw new ConfigError(
      "cli/invalid-value",
      `Cannot read flag "${flag}": expected a number, got "${text}"`,
      { details: { flag, value: text } },
    );
  };
}

/** Reads a flag's whole number, at least `least`. */
export function countFlag(
  flag: string,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): (text: string) => number {
  const range = most < Number.MAX_SAFE_INTEGER ? `${least} to ${most}` : String(least);
  return (text) => {
    const value = /^\d+$/.test(text.trim()) ? Number(text) : NaN;
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
    throw new ConfigError(
      "cli/invalid-value",
      `Cannot read flag "${flag}": expected a whole number from ${range}, got "${text}"`,
      { details: { flag, value: text } },
    );
  };
}

/** What values are that cannot be empty, by their names in the help. */
const NAMED: Readonly<Record<string, string>> = {
  ...{ file: "a file", folder: "a folder", dir: "a folder", source: "a file", config: "a file" },
  ...{ script: "a file", address: "an address", name: "a name", key: "a key", origin: "an origin" },
};

/** Refuses empty texts where a command takes a name: they would mean the current folder, or nothing. */
export function refuseEmptyNames(command: CommandUnknownOpts): void {
  const values = [
    ...command.options.map((option) => ({
      what: `flag "${option.long ?? option.flags}"`,
      name: option.flags.match(/<(\w+)/)?.[1],
      value: command.getOptionValue(option.attributeName()),
    })),
    ...command.registeredArguments.map((argument, i) => ({
      what: `argument "${argument.name()}"`,
      name: argument.name(),
      value: command.processedArgs[i],
    })),
  ];
  for (const { what, name = "", value } of values) {
    const empty = [value].flat().find((each) => typeof each === "string" && each.trim() === "");
    if (empty === undefined || !Object.hasOwn(NAMED, name)) continue;
    throw new ConfigError(
      "cli/invalid-value",
      `Cannot read ${what}: expected ${NAMED[name]}, got "${empty}"`,
      { details: { name, value } },
    );
  }
}

/** Gathers the values of a flag that may stand several times. */
export function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** The error for arguments that commander refused, with a suggestion. */
export function flagError(
  error: CommanderError,
  program: CommandUnknownOpts,
  args: readonly string[],
): ConfigError {
  const command = program.commands.find((command) => command.name() === args[0]) ?? program;
  const name = error.message.match(/'([^']*)'/)?.[1] ?? "";
  const help = `Give --help behind "${command.name()}" to see what it takes`;
  switch (error.code) {
    case "commander.unknownCommand":
      return unknown("command", name, program.commands.map((command) => command.name()));
    case "commander.unknownOption":
      return unknownFlag(program, command, name.split("=")[0]);
    case "commander.optionMissingArgument":
      return new ConfigError(
        "cli/missing-value",
        `Cannot read flag "${name.match(/--[\w-]+/)?.[0] ?? name}": expected a value, got none`,
        { hint: help },
      );
    case "commander.excessArguments":
      return excessArguments(
        command,
        error.message.match(/got \d+: (.*?)\.?$/)?.[1] ?? "more",
        program.commands.map((each) => each.name()),
      );
    case "commander.invalidArgument":
      return choiceError(error.message) ?? new ConfigError("cli/invalid-value", error.message);
    default:
      return new ConfigError(
        "cli/invalid-value",
        `Cannot read the arguments of "${command.name()}": ${
          error.message.replace(/^error: /, "").replace(/\.$/, "")
        }`,
        { hint: help },
      );
  }
}

/** Words behind a command that belong to no flag: a model's path, or a text without quotes. */
function excessArguments(
  command: CommandUnknownOpts,
  given: string,
  commands: readonly string[],
): ConfigError {
  const words = given.split(", ");
  const most = command.registeredArguments.length;
  const behind = most === 0 ? "" : ` behind ${words.slice(0, most).join(" ")}`;
  const excess = words.slice(most);
  const takesModel = command.options.some(({ long }) => long === "--model");
  const isCommand = excess.length === 1 && commands.includes(excess[0]);
  return new ConfigError(
    "cli/excess-arguments",
    `Cannot read the arguments of "${command.name()}": expected flags alone${behind}, got ${
      excess.join(", ")
    }`,
    {
      hint: isCommand
        ? `Write the command in front of its flags: ${excess[0]}`
        : takesModel && excess.length === 1
        ? `Give a model as --model ${excess[0]}`
        : `Quote a text with spaces, such as --prompt "Once upon a time"`,
    },
  );
}

/** A value that is none of a flag's or an argument's choices. */
function choiceError(message: string): ConfigError | undefined {
  const value = message.match(/(?:argument|value) '([^']*)'/)?.[1];
  const name = message.match(/--[\w-]+/)?.[0] ?? message.match(/for argument '([^']*)'/)?.[1];
  const choices = message.match(/Allowed choices are (.*)\.$/)?.[1].split(", ");
  if (value === undefined || choices === undefined) return undefined;
  const near = nearest(value, choices);
  return new ConfigError(
    "cli/invalid-value",
    `Cannot read ${name?.startsWith("--") ? "flag" : "argument"} "${name}": ` +
      `expected one of ${choices.join(", ")}, got "${value}"`,
    { hint: near && `Did you mean "${near}"?`, details: { name, value, choices } },
  );
}

/** A flag that a command does not have; another one may. */
function unknownFlag(
  program: CommandUnknownOpts,
  command: CommandUnknownOpts,
  flag: string,
): ConfigError {
  const owner = program.commands.find(({ options }) => options.some(({ long }) => long === flag));
  const error = unknown("flag", flag, command.options.map(({ long, flags }) => long ?? flags));
  if (owner === undefined) return error;
  const { code, message, details } = error;
  return new ConfigError(code, message, {
    hint: `Give it to the command that has it, such as ${owner.name()}`,
    details,
  });
}

function unknown(what: "command" | "flag", name: string, known: readonly string[]): ConfigError {
  const near = nearest(name, known);
  return new ConfigError(
    `cli/unknown-${what}`,
    `Cannot find ${what} "${name}": expected one of ${known.join(", ")}`,
    {
      hint: near
        ? `Did you mean "${near}"?`
        : what === "command"
        ? "Give --help to see what there is"
        : undefined,
      details: { name, known },
    },
  );
}
