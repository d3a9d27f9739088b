/**
 * What blocks record for a decode step, taken down once: it depends on how many rows the step has and, of attention, into how many splits its longest sequence
 * is cut, and how many tokens are scored, but not on tokens, positions and sequences, which kernels look up in memory.
 *
 * @module
 */
import type { Device, Script } from "../../kernels/device/device.ts";
import { splitCount } from "../../kernels/latent_decode/splits.ts";
import type { DecodeAttention, Step } from "./context.ts";
import { scoredTokens } from "./sparse_activations.ts";

/** Scripts that are kept: of some hundred kinds of steps. */
const MOST_SCRIPTS = 1 << 14;

interface Kept<R> {
  readonly script: Script;
  readonly result: R;
}

/** Most splits of a row in decode attention over the tokens that are kept, or chosen. */
export function splitsOf({ rows }: Step, { config, indexer }: DecodeAttention): number {
  const most = indexer?.topTokens ?? Infinity;
  let splits = 0;
  for (const { position, sequence } of rows) splits = Math.max(splits, splitCount(Math.min(most, sequence.kept(position + 1)), config));
  return splits;
}

/** Scripts of one model. */
export class DecodeScripts<R> {
  readonly #device: Device;
  readonly #attention: DecodeAttention;
  /** The longest unused first. */
  readonly #kept = new Map<string, Kept<R>>();
  /** What attention depends on, of the last step. */
  #step: Step | null = null;
  #kind = "";

  constructor(device: Device, attention: DecodeAttention) {
    this.#device = device;
    this.#attention = attention;
  }

  /**
   * Records a block.
   *
   * @param name of what is recorded of steps of one kind
   * @param attends whether it is an attention block
   * @returns what `record` returns, which must be the same every time, too
   */
  run(step: Step, name: string, attends: boolean, record: () => R): R {
    const key = `${name} ${step.rows.length} ${attends ? this.#kindOf(step) : ""}`;
    const known = this.#kept.get(key);
    if (known !== undefined) {
      this.#kept.delete(key);
      if (this.#device.play(known.script)) {
        this.#kept.set(key, known);
        return known.result;
      }
    }
    let result: R;
    const script = this.#device.capture(() => {
      result = record();
    });
    this.#kept.set(key, { script, result: result! });
    if (this.#kept.size > MOST_SCRIPTS) this.#kept.delete(this.#kept.keys().next().value!);
    this.#device.play(script);
    return result!;
  }

  #kindOf(step: Step): string {
    if (step === this.#step) return this.#kind;
    const { indexer } = this.#attention;
    this.#step = step;
    return this.#kind = `${splitsOf(step, this.#attention)} ${indexer === null ? "" : scoredTokens(step, indexer)}`;
  }
}
