/**
 * Command lines in files that deploy: they are what the program takes.
 *
 * @module
 */
import { assert } from "@std/assert";
import { openRegistry } from "../../../cluster/registry/open_registry.ts";
import { describedProgram } from "./flag_lists.ts";

/** @throws unless the command line takes it */
export function assertCommand([name, ...args]: readonly string[]): void {
  const command = describedProgram().commands.find((command) => command.name() === name);
  assert(command !== undefined, `there is no command ${name}`);
  for (let i = 0; i < args.length; i++) {
    const option = command.options.find(({ long }) => long === args[i]);
    assert(option !== undefined, `${name} has no flag ${args[i]}`);
    if (!option.required) continue;
    const value = args[++i];
    assert(value !== undefined && !value.startsWith("--"), `${option.long} has no value`);
    if (option.long === "--registry" && !value.startsWith("$")) openRegistry(value);
  }
  for (const { long, mandatory } of command.options) if (mandatory) assert(args.includes(long!), `${name} needs ${long}`);
}
