/**
 * `completions`: what a shell needs to complete commands, flags and their values. Everything comes
 * from the commands themselves.
 *
 * @module
 */

import { Argument, Command, type CommandUnknownOpts } from "../deps/commander.ts";
import type { CommandContext } from "./command.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

/** The command; it reads the other commands of its program when it runs. */
export function completionsCommand({ terminal }: CommandContext) {
  return new Command("completions")
    .description("Print the completions of a shell")
    .addArgument(new Argument("<shell>", "bash, zsh or fish").choices(SHELLS))
    .action((shell, _flags, command: CommandUnknownOpts) => {
      const commands = (command.parent?.commands ?? []).map(describeCommand);
      const write = { bash: bashCompletions, zsh: zshCompletions, fish: fishCompletions }[shell];
      terminal.result(write(commands));
    });
}

/** A command as shells need it. */
interface Described {
  readonly name: string;
  readonly about: string;
  readonly flags: readonly Flag[];
  /** Values of its first argument. */
  readonly choices: readonly string[];
}

interface Flag {
  readonly long: string;
  readonly short: string | undefined;
  readonly about: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

function describeCommand(command: CommandUnknownOpts): Described {
  const flags = command.options.flatMap((option): Flag[] =>
    option.long
      ? [{
        long: option.long,
        short: option.short,
        about: option.description,
        takesValue: option.required || option.optional,
        choices: option.argChoices ?? [],
      }]
      : []
  );
  const help = {
    long: "--help",
    short: "-h",
    about: "display help",
    takesValue: false,
    choices: [],
  };
  return {
    name: command.name(),
    about: command.description(),
    flags: [...flags, help],
    choices: command.registeredArguments[0]?.argChoices ?? [],
  };
}

function bashCompletions(commands: readonly Described[]): string {
  const cases = commands.map(({ name, flags, choices }) => {
    const values = flags.filter((flag) => flag.choices.length > 0).map(({ long, short, choices }) =>
      `        ${[long, short].filter(Boolean).join("|")}) words="${choices.join(" ")}" ;;`
    );
    const files = flags.filter((flag) => flag.takesValue && flag.choices.length === 0)
      .flatMap(({ long, short }) => short ? [long, short] : [long]);
    const own = [...flags.map(({ long }) => long), ...choices].join(" ");
    return [
      `    ${name})`,
      `      case "$before" in`,
      ...values,
      ...(files.length > 0 ? [`        ${files.join("|")}) return ;;`] : []),
      `        *) words="${own}" ;;`,
      "      esac ;;",
    ].join("\n");
  });
  return `# Load it with: source <(mixline completions bash)
_mixline() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD - 1]}" words=""
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    words="${[...commands.map(({ name }) => name), "--help", "--version"].join(" ")}"
  else
    case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _mixline mixline
`;
}

function zshCompletions(commands: readonly Described[]): string {
  const quote = (text: string) =>
    text.replaceAll("\\", "\\\\").replaceAll("'", "'\\''").replace(/[[\]:]/g, "\\$&");
  const spec = ({ long, about, takesValue, choices }: Flag) =>
    `'*${long}[${quote(about)}]${
      takesValue ? `:value:${choices.length > 0 ? `(${choices.join(" ")})` : "_files"}` : ""
    }'`;
  const cases = commands.map(({ name, flags, choices }) => {
    const first = choices.length > 0 ? `'1:what:(${choices.join(" ")})'` : "'*:file:_files'";
    return `    ${name}) _arguments ${[...flags.map(spec), first].join(" \\\n      ")} ;;`;
  });
  return `#compdef mixline
# Load it with: source <(mixline completions zsh)
_mixline() {
  if ((CURRENT == 2)); then
    local -a commands=(
${commands.map(({ name, about }) => `      '${name}:${quote(about)}'`).join("\n")}
    )
    _describe command commands
    return
  fi
  local command="\${words[2]}"
  shift words
  ((CURRENT--))
  case "$command" in
${cases.join("\n")}
  esac
}
compdef _mixline mixline
`;
}

function fishCompletions(commands: readonly Described[]): string {
  const quote = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = commands.flatMap(({ name, about, flags, choices }) => {
    const inside = `-n '__fish_seen_subcommand_from ${name}'`;
    return [
      `complete -c mixline -n __fish_use_subcommand -a ${name} -d ${quote(about)}`,
      ...(choices.length > 0
        ? [`complete -c mixline ${inside} -a ${quote(choices.join(" "))}`]
        : []),
      ...flags.map((flag) => {
        const short = flag.short ? ` -s ${flag.short.slice(1)}` : "";
        const value = flag.choices.length > 0
          ? ` -x -a ${quote(flag.choices.join(" "))}`
          : flag.takesValue
          ? " -r"
          : "";
        return `complete -c mixline ${inside} -l ${flag.long.slice(2)}${short}${value} -d ${
          quote(flag.about)
        }`;
      }),
    ];
  });
  return `# Load it with: mixline completions fish | source\n${lines.join("\n")}\n`;
}
