/** `mobula completion`: what a shell needs to complete commands and options, made from the commands themselves. */
import { Argument, type Command } from "commander";
import { ROW_KINDS } from "../state/mod.ts";
import { print } from "./cli-print.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

export function addCompletion(program: Command): void {
  program
    .command("completion")
    .addArgument(new Argument("<shell>", "which one").choices(SHELLS))
    .description("print what completes commands and options in a shell")
    .addHelpText(
      "after",
      `
Examples:
  $ mobula completion bash > ~/.local/share/bash-completion/completions/mobula
  $ mobula completion zsh > "\${fpath[1]}/_mobula"
  $ mobula completion fish > ~/.config/fish/completions/mobula.fish`,
    )
    .action((shell: (typeof SHELLS)[number]) => print(completionFor(shell, program).trimEnd()));
}

interface Known {
  readonly name: string;
  readonly description: string;
  readonly words: readonly string[];
}

/** Commands, also those below others, with what may follow each. */
function knownCommands(program: Command, before = ""): readonly Known[] {
  return program.commands.flatMap((command) => {
    const name = `${before}${command.name()}`;
    const options = command.options.flatMap(({ long, short }) =>
      [long, short].filter((flag) => flag !== undefined && flag !== null),
    );
    const below = command.commands.map((one) => one.name());
    const kinds = /^(list|get)$/.test(name)
      ? ROW_KINDS
      : name === "summary"
        ? ["tasks", "actors", "objects"]
        : name === "completion"
          ? SHELLS
          : [];
    return [
      { name, description: command.description(), words: [...below, ...kinds, ...options, "--help"] },
      ...knownCommands(command, `${name} `),
    ];
  });
}

function completionFor(shell: (typeof SHELLS)[number], program: Command): string {
  const commands = knownCommands(program);
  const first = commands.filter(({ name }) => !name.includes(" "));
  switch (shell) {
    case "bash":
      return bash(commands, first);
    case "zsh":
      return `#compdef mobula\nautoload -U +X bashcompinit && bashcompinit\n${bash(commands, first)}`;
    case "fish":
      return fish(commands, first);
  }
}

const bash = (commands: readonly Known[], first: readonly Known[]): string => `_mobula() {
  local word="\${COMP_WORDS[COMP_CWORD]}" command="\${COMP_WORDS[1]}"
  if [ "$COMP_CWORD" -gt 2 ]; then
    case "\${COMP_WORDS[1]} \${COMP_WORDS[2]}" in
${commands
  .filter(({ name }) => name.includes(" "))
  .map(({ name, words }) => `      "${name}") COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$word")); return ;;`)
  .join("\n")}
    esac
  fi
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${first.map(({ name }) => name).join(" ")} --help --version" -- "$word"))
    return
  fi
  case "$command" in
${first.map(({ name, words }) => `    ${name}) COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$word")) ;;`).join("\n")}
  esac
}
complete -o default -F _mobula mobula
`;

function fish(commands: readonly Known[], first: readonly Known[]): string {
  const quoted = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = first.map(
    ({ name, description }) => `complete -c mobula -n __fish_use_subcommand -f -a ${name} -d ${quoted(description)}`,
  );
  for (const { name, words } of commands) {
    const [command = "", below] = name.split(" ");
    const seen = `__fish_seen_subcommand_from ${command}${below === undefined ? "" : `; and __fish_seen_subcommand_from ${below}`}`;
    lines.push(`complete -c mobula -n ${quoted(seen)} -a ${quoted(words.join(" "))}`);
  }
  return `${lines.join("\n")}\n`;
}
