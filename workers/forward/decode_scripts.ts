/**
 * What blocks record for a decode step, taken down once: it depends on how many rows the step has and, of attention, into how many splits its longest sequence
 * is cut, but not on tokens, positions and sequences, which kernels look up in memory.
 *
 * @module
 */
import type { Device, Script } from "../../kernels/device/device.ts";
import type { LatentDecodeConfig } from "../../kernels/latent_decode/latent_decode.ts";
import { splitCount } from "../../kernels/latent_decode/splits.ts";
import type { Step } from "./context.ts";

/** Scripts that are kept: of some hundred kinds of steps. */
const MOST_SCRIPTS = 1 << 14;

interface Kept<R> {
  readonly script: Script;
  readonly result: R;
}

/** Most splits of a row in decode attention over the tokens that are kept. */
export function splitsOf({ rows }: Step, config: LatentDecodeConfig): number {
  let splits = 0;
  for (const { position, sequence } of rows) splits = Math.max(splits, splitCount(sequence.kept(position + 1), config));
  return splits;
}

/** Scripts of one model. */
export class DecodeScripts<R> {
  readonly #device: Device;
  readonly #config: LatentDecodeConfig;
  /** The longest unused first. */
  readonly #kept = new Map<string, Kept<R>>();
  /** Splits of the last step. */
  #step: Step | null = null;
  #splits = 0;

  constructor(device: Device, config: LatentDecodeConfig) {
    this.#device = device;
    this.#config = config;
  }

  /**
   * Records a block.
   *
   * @param name of what is recorded of steps of one kind
   * @param attends whether it is an attention block
   * @returns what `record` returns, which must be the same every time, too
   */
  run(step: Step, name: string, attends: boolean, record: () => R): R {
    const key = `${name} ${step.rows.length} ${attends ? this.#splitsOf(step) : ""}`;
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

  #splitsOf(step: Step): number {
    if (step === this.#step) return this.#splits;
    this.#step = step;
    return this.#splits = splitsOf(step, this.#config);
  }
}
