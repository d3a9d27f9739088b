/**
 * The command line in this process, for commands that print something and end: what they print does not depend on who started them, and a process takes longer to
 * start than most of them take.
 *
 * @module
 */
import { CommanderError } from "commander";
import { LatentmeshError } from "../../core/errors.ts";
import { createProgram } from "../../cluster/commands/cli.ts";
import { loadServices } from "../../cluster/main.ts";

/**
 * What a command that cannot be run says, as a process would after `error: `. Whoever is not refused runs: the test waits for it.
 *
 * @throws where it runs to its end
 */
export async function refusedHere(...args: string[]): Promise<string> {
  const program = createProgram("0", loadServices);
  let said = "";
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({ writeErr: (text) => said += text });
  }
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return said;
    if (error instanceof LatentmeshError) return error.message;
    throw error;
  }
  throw new Error(`${args.join(" ")}: it is not refused`);
}

/** Runs a command to its end. One at a time. @returns what it writes to standard output @throws where it cannot be done, as `error: …` of a process would say */
export async function runHere(...args: string[]): Promise<string> {
  const decoder = new TextDecoder();
  let written = "";
  const { stdout } = Deno;
  const write = Object.getOwnPropertyDescriptor(stdout, "writeSync");
  Object.defineProperty(stdout, "writeSync", {
    configurable: true,
    value(bytes: Uint8Array) {
      written += decoder.decode(bytes, { stream: true });
      return bytes.byteLength;
    },
  });
  try {
    await createProgram("0", loadServices).parseAsync(args, { from: "user" });
  } finally {
    if (write === undefined) delete (stdout as { writeSync?: unknown }).writeSync;
    else Object.defineProperty(stdout, "writeSync", write);
  }
  return written;
}
