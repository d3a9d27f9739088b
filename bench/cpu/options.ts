/**
 * What `bench cpu` is asked.
 *
 * @module
 */
import { parseArgs } from "node:util";

/** What is measured, in the order in which it is. */
const PARTS = ["kernels", "tiny", "threads", "large", "gguf", "serve", "many"] as const;
const SIZES = ["tiny", "v2-lite"] as const;

/** Everything. */
export interface CpuOptions {
  readonly only: ReadonlySet<(typeof PARTS)[number]>;
  /** Where GGUF files are kept; by default they are removed. */
  readonly directory: string | undefined;
  /** Experts of the model of V2-Lite's sizes. */
  readonly experts: number;
  /** Of the model that many sequences are decoded with. */
  readonly sizes: (typeof SIZES)[number];
}

/** @throws {Error} naming the flag, and what there is */
export function parseCpuOptions(args: readonly string[]): CpuOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: "string", default: PARTS.join() },
      directory: { type: "string" },
      experts: { type: "string", default: "8" },
      sizes: { type: "string", default: "tiny" },
    },
  });
  const experts = Number(values.experts);
  if (!Number.isInteger(experts) || experts < 1) throw new Error(`--experts: expected a whole number from 1, got "${values.experts}"`);
  return {
    only: new Set(values.only.split(",").map((name) => oneOf(PARTS, "--only", name))),
    directory: values.directory,
    experts,
    sizes: oneOf(SIZES, "--sizes", values.sizes),
  };
}

function oneOf<T extends string>(known: readonly T[], flag: string, name: string): T {
  const found = known.find((one) => one === name);
  if (found === undefined) throw new Error(`${flag}: "${name}" is none of ${known.join(", ")}`);
  return found;
}
