/**
 * Seeded randomness for tests. Set `TEST_SEED` to repeat a failure; every failing comparison prints the seed.
 *
 * @module
 */

/** Seed of this run. */
export const SEED: number = Number(Deno.env.get("TEST_SEED") ?? 20261121);

/** Small deterministic generator (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number = SEED) {
    this.#state = seed >>> 0;
  }

  /** Uniform in [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Uniform integer below `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** Standard normal float32 values times `scale`. */
  normals(count: number, scale = 1): Float32Array<ArrayBuffer> {
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++) values[i] = scale * Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
    return values;
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    const values = new Uint8Array(count);
    for (let i = 0; i < count; i++) values[i] = this.below(256);
    return values;
  }
}
