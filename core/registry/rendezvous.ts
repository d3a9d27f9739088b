/**
 * Who gets a request: the cell that wins it by rendezvous hashing (highest random weight) among those that have not much more to do than others. Every front decides the
 * same without asking anybody, and a cell that comes or goes moves only its own share. Pure.
 *
 * @module
 */

/** A cell above so many times the mean load passes on what comes (consistent hashing with bounded loads, arXiv 1608.01350). */
export const LOAD_BOUND = 1.25;
/** So few requests are no load: a batch of them takes hardly longer than one. */
export const LIGHT_LOAD = 8;

/** What was decided. */
export interface Decision {
  /** Index of the cell. */
  readonly cell: number;
  /** Whether another one would have had it, were it not for its load. */
  readonly spilled: boolean;
}

/** Cells that a request may go to, by index, with what they have to do. */
export class Rendezvous {
  readonly #hashes: Uint32Array;
  readonly #loads: Float64Array;
  #total = 0;

  /** @param ids different from each other @param loads requests of each */
  constructor(ids: readonly string[], loads: readonly number[]) {
    this.#hashes = Uint32Array.from(ids, hash32);
    this.#loads = Float64Array.from(loads);
    for (const load of loads) this.#total += load;
  }

  /** So many requests begin there, or end if they are negative. */
  add(cell: number, requests: number): void {
    const load = Math.max(0, this.#loads[cell] + requests);
    this.#total += load - this.#loads[cell];
    this.#loads[cell] = load;
  }

  /** Requests that a cell may have, the new one included. */
  get bound(): number {
    return Math.max(LIGHT_LOAD, Math.ceil(LOAD_BOUND * (this.#total + 1) / Math.max(1, this.#hashes.length)));
  }

  /** Whether a cell has room below the bound. */
  hasRoom(cell: number): boolean {
    return this.#loads[cell] + 1 <= this.bound;
  }

  /**
   * The cell for a prefix; among those of which all are above the bound, the one with the least to do.
   *
   * @param key of the prefix, see {@link hash32}
   * @param isExcluded cells that must not have it, because they have failed or are not equal
   * @returns null if all are excluded
   */
  choose(key: number, isExcluded?: (cell: number) => boolean): Decision | null {
    const quick = this.#chooseOfAll(key);
    if (quick === null || isExcluded === undefined || (!isExcluded(quick.cell) && !isExcluded(quick.first))) return decided(quick);
    return decided(this.#chooseOfOthers(key, isExcluded));
  }

  /** Ten thousand cells are looked at here for every request: there is nothing in the loop but numbers. */
  #chooseOfAll(key: number): Choice | null {
    const [hashes, loads, most] = [this.#hashes, this.#loads, this.bound - 1];
    const count = hashes.length;
    let [best, bestWeight, first, firstWeight] = [-1, -1, -1, -1];
    for (let cell = 0; cell < count; cell++) {
      const weight = mix32(hashes[cell] ^ key);
      // Whoever wins with room has to be heavier than all with room before: most cells end here.
      if (weight <= bestWeight) continue;
      if (weight > firstWeight) {
        first = cell;
        firstWeight = weight;
      }
      if (loads[cell] <= most) {
        best = cell;
        bestWeight = weight;
      }
    }
    if (first < 0) return null;
    return best < 0 ? this.#chooseOfOthers(key, () => false) : { cell: best, first };
  }

  #chooseOfOthers(key: number, isExcluded: (cell: number) => boolean): Choice | null {
    const most = this.bound - 1;
    let [best, bestWeight, first, firstWeight, idlest] = [-1, -1, -1, -1, -1];
    for (let cell = 0; cell < this.#hashes.length; cell++) {
      if (isExcluded(cell)) continue;
      const weight = mix32(this.#hashes[cell] ^ key);
      if (weight > firstWeight) [first, firstWeight] = [cell, weight];
      if (idlest < 0 || this.#loads[cell] < this.#loads[idlest]) idlest = cell;
      if (weight > bestWeight && this.#loads[cell] <= most) [best, bestWeight] = [cell, weight];
    }
    return first < 0 ? null : { cell: best < 0 ? idlest : best, first };
  }
}

/** Who gets it, and who would have it were it not for its load. */
interface Choice {
  readonly cell: number;
  readonly first: number;
}

function decided(choice: Choice | null): Decision | null {
  return choice === null ? null : { cell: choice.cell, spilled: choice.cell !== choice.first };
}

/** 32 bits of a text (FNV-1a, mixed): enough to spread, not to name. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return mix32(hash);
}

/** MurmurHash3's 32-bit finaliser. */
function mix32(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
