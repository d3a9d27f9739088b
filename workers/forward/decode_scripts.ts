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
  /** The longest unused first. */
  readonly #kept = new Map<string, Kept<R>>();
  /** What attention depends on, of the last step, in layers that attend so. */
  #step: Step | null = null;
  readonly #kinds = new Map<DecodeAttention, string>();

  constructor(device: Device) {
    this.#device = device;
  }

  /**
   * Records a block.
   *
   * @param name of what is recorded of steps of one kind
   * @param attends how it attends, if it is an attention block
   * @returns what `record` returns, which must be the same every time, too
   */
  run(step: Step, name: string, attends: DecodeAttention | null, record: () => R): R {
    const key = `${name} ${step.rows.length} ${attends === null ? "" : this.#kindOf(step, attends)}`;
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

  #kindOf(step: Step, attention: DecodeAttention): string {
    if (step !== this.#step) this.#kinds.clear();
    this.#step = step;
    const { indexer } = attention;
    const kind = this.#kinds.get(attention) ?? `${splitsOf(step, attention)} ${indexer === null ? "" : scoredTokens(step, indexer)}`;
    this.#kinds.set(attention, kind);
    return kind;
  }
}
