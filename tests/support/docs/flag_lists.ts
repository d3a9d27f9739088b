/**
 * Commands, their flags and the environment as lists for people, from the definitions that `--help` prints.
 *
 * @module
 */
import type { Command, Option } from "commander";
import { createProgram } from "../../../cluster/commands/cli.ts";
import { FLAG_GROUPS } from "../../../cluster/config/flag_groups.ts";
import { SETTING_OF } from "../../../cluster/config/flag_settings.ts";
import { ENV_HELP } from "../../../core/env.ts";
import { sentence } from "./config_keys.ts";

/** The program, for what it says of itself; it runs nothing. */
export function describedProgram(): Command {
  return createProgram("0", () => Promise.reject(new Error("nothing is run")));
}

/** Markdown: what each command is for. */
export function commandList(): string {
  return describedProgram().commands.map((command) => `- \`deno task ${command.name()}\`: ${command.description()}`).join("\n");
}

/** Markdown: flags of `serve` by group, then what other commands have besides. */
export function flagLists(): string {
  const { commands } = describedProgram();
  const serve = commands.find((command) => command.name() === "serve")!;
  const groups = Object.keys(FLAG_GROUPS).map((heading) => {
    const options = serve.options.filter((option) => option.helpGroupHeading === `${heading}:`)
      .toSorted((a, b) => FLAG_GROUPS[heading].indexOf(a.name()) - FLAG_GROUPS[heading].indexOf(b.name()));
    return `### ${heading}\n\n${options.map(flagLine).join("\n")}`;
  });
  const known = new Set(serve.options.map(({ long }) => long));
  const others = commands.filter((command) => command !== serve).map((command) => {
    const shared = command.options.filter(({ long }) => known.has(long)).map(({ long }) => `\`${long}\``);
    // A worker takes its settings from the coordinator: its flags are none of a cluster file.
    const own = command.options.filter(({ long }) => !known.has(long) || command.name() === "worker").map(flagLineApart);
    const besides = shared.length === 0 || command.name() === "worker" ? "" : `\n\nAs \`serve\` has them: ${shared.join(", ")}.`;
    return `### Of \`${command.name()}\`\n\n${own.length === 0 ? "No others." : own.join("\n")}${besides}`;
  });
  return [...groups, ...others].join("\n\n");
}

function flagLine(option: Option): string {
  const setting = (SETTING_OF as Readonly<Record<string, string>>)[option.attributeName()];
  return `${flagLineApart(option)}${setting === undefined ? "" : ` Sets \`${setting}\`.`}`;
}

function flagLineApart(option: Option): string {
  const { flags, description, argChoices, defaultValue, mandatory } = option;
  const choices = argChoices === undefined ? "" : ` One of ${argChoices.map((choice) => `\`${choice}\``).join(", ")}.`;
  const standard = defaultValue === undefined ? "" : ` (default: ${defaultValue})`;
  return `- **\`${flags}\`**${mandatory ? " (required)" : ""}: ${sentence(description + standard)}${choices}`;
}

/** Markdown: environment variables. */
export function environmentList(): string {
  return ENV_HELP.map(({ name, help }) => `- **\`${name}\`**: ${sentence(help)}`).join("\n");
}
