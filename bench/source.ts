/**
 * Where a measurement comes from: what is kept of it says so, and figures do.
 *
 * @module
 */

/** Of one measurement. */
export interface Source {
  readonly card: string;
  /** Year, month, day. */
  readonly date: string;
  /** What repeats it. */
  readonly command: string;
}

/** Options that say what becomes of a result, not what is measured; each with a value. */
const KEEPING = ["--json", "--card"];

/**
 * The source of what `deno task bench NAME ARGS` measures now.
 *
 * @param card the card's name
 * @throws {Error} if there is none: WebGPU does not tell it
 */
export function sourceOf(bench: string, args: readonly string[], card: string | undefined): Source {
  if (card === undefined) {
    throw new Error(`Say which card this is with --card, such as --card "NVIDIA H100": WebGPU does not tell, and figures name it`);
  }
  const measured = args.filter((arg, i) => !KEEPING.some((option) => arg === option || arg.startsWith(`${option}=`) || args[i - 1] === option));
  return { card, date: new Date().toISOString().slice(0, 10), command: ["deno task bench", bench, ...measured].join(" ") };
}

/**
 * What keeps a bench's result, with its source, in the file that `--json` names; it does nothing without one.
 *
 * @throws {Error} if there is a file and no `--card`, or no directory for it, before anything is measured
 */
export function keeper(
  bench: string,
  args: readonly string[],
  { json, card }: { readonly json?: string; readonly card?: string },
): (result: object) => Promise<void> {
  const source = json === undefined ? null : sourceOf(bench, args, card);
  // Not after an hour of measuring.
  if (json !== undefined && !Deno.statSync(json.replace(/[^/]*$/, "") || ".").isDirectory) {
    throw new Error(`Cannot write ${json}: it would not lie in a directory`);
  }
  return async (result: object): Promise<void> => {
    if (json !== undefined) await Deno.writeTextFile(json, JSON.stringify({ ...source, ...result }, null, 2));
  };
}

/** Checks what is read back. @throws {Error} if it does not say where it comes from */
export function checkSource(name: string, data: Partial<Source>): void {
  for (const field of ["card", "date", "command"] as const) {
    if (typeof data[field] !== "string") throw new Error(`Cannot draw ${name}: ${name}.json does not say its ${field}`);
  }
}
