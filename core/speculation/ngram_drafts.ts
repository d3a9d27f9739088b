/**
 * Drafts without a second model: what followed the last tokens when they last occurred, in the prompt, in the answer (prompt lookup decoding), or in what the answer is
 * expected to be like.
 *
 * @module
 */

/** Tokens that must have occurred before. */
export const LEAST_MATCH = 3;

/** Tokens beyond which a match is not measured. */
const LONGEST_MATCH = 32;

/** Earlier occurrences that are looked at, the latest first. */
const MOST_OCCURRENCES = 16;

/** What the first tokens of what is expected count as, in tokens that matched. */
const AS_EXPECTED = 8;

/** Tokens of an answer up to which few share a place in the index. */
const USUAL_ANSWER = 2048;

/** Tokens that may come next. */
export interface NgramDraft {
  readonly tokens: readonly number[];
  /** How many of the last tokens stood before them, too: at least {@link LEAST_MATCH}. */
  readonly matched: number;
}

/** How many tokens may still be taken in, by all sequences of a step together: nothing that grows with prompts may hold up others. */
export interface IndexBudget {
  tokens: number;
}

/** What a step may take in: some tenths of a millisecond. */
export const INDEXED_PER_STEP: number = 1 << 14;

/** The tokens of one sequence, indexed by each three in a row. */
export class NgramDrafts {
  readonly #prompt: readonly number[];
  readonly #expected: readonly number[];
  readonly #answer: number[] = [];
  /** Tokens of what is expected that came, as long as no others did; null: others did. */
  #asExpected: number | null = 0;
  #index: Index | null = null;

  /** @param expected what the answer may be like, apart from changes; default: nothing is expected */
  constructor(prompt: readonly number[], expected: readonly number[] = []) {
    this.#prompt = prompt;
    this.#expected = expected;
  }

  /** The answer goes on. */
  push(token: number): void {
    this.#answer.push(token);
    if (this.#asExpected !== null) this.#asExpected = token === this.#expected[this.#asExpected] ? this.#asExpected + 1 : null;
  }

  /**
   * What came after the longest match of the last tokens, the latest of equals; null: nothing matches, or not everything is taken in yet.
   *
   * @param most tokens of it
   * @param budget of what is taken in before, which it lessens
   */
  draft(most: number, budget: IndexBudget): NgramDraft | null {
    if (most < 1) return null;
    const at = this.#asExpected;
    if (at !== null && at < this.#expected.length) return { tokens: this.#expected.slice(at, at + most), matched: Math.max(AS_EXPECTED, at) };
    return this.#catchUp(budget) ? this.#index!.draft(most) : null;
  }

  /** @returns whether everything is taken in */
  #catchUp(budget: IndexBudget): boolean {
    const parts = [this.#expected, this.#prompt, this.#answer];
    const all = parts.reduce((sum, { length }) => sum + length, 0);
    if (budget.tokens < 1) return this.#index?.length === all;
    const index = this.#index ??= new Index(all);
    let start = 0;
    for (const part of parts) {
      const count = Math.min(budget.tokens, start + part.length - index.length);
      if (count > 0) {
        index.add(part, index.length - start, count);
        budget.tokens -= count;
      }
      start += part.length;
    }
    return index.length === all;
  }
}

/** Tokens in a row, and where each three of them last stood. */
class Index {
  #tokens: Int32Array<ArrayBuffer>;
  #length = 0;
  /** By a hash of three tokens, the position after their last occurrence; 0: none. */
  readonly #last: Int32Array<ArrayBuffer>;
  /** By the position after three tokens, that after an earlier occurrence of their hash. */
  #earlier: Int32Array<ArrayBuffer>;
  readonly #shift: number;

  /** @param length tokens to begin with */
  constructor(length: number) {
    const bits = Math.ceil(Math.log2(length + USUAL_ANSWER));
    this.#last = new Int32Array(1 << bits);
    this.#shift = 32 - bits;
    this.#tokens = new Int32Array(length + 64);
    this.#earlier = new Int32Array(length + 65);
  }

  get length(): number {
    return this.#length;
  }

  add(tokens: readonly number[], from: number, count: number): void {
    this.#makeRoom(this.#length + count);
    for (let i = from; i < from + count; i++) {
      this.#tokens[this.#length++] = tokens[i];
      if (this.#length >= LEAST_MATCH) this.#enter(this.#length);
    }
  }

  draft(most: number): NgramDraft | null {
    const length = this.#length;
    const tokens = this.#tokens;
    if (length <= LEAST_MATCH) return null;
    let found = 0;
    let matched = 0;
    let at = this.#earlier[length];
    for (let looked = 0; at > 0 && looked < MOST_OCCURRENCES && matched < LONGEST_MATCH; looked++, at = this.#earlier[at]) {
      let same = 0;
      while (same < LONGEST_MATCH && same < at && tokens[at - 1 - same] === tokens[length - 1 - same]) same++;
      if (same > matched) [found, matched] = [at, same];
    }
    if (matched < LEAST_MATCH) return null;
    const draft: number[] = [];
    // What repeats with a period shorter than the draft goes on repeating.
    for (let i = 0; i < most; i++) draft.push(found + i < length ? tokens[found + i] : draft[found + i - length]);
    return { tokens: draft, matched };
  }

  #enter(end: number): void {
    const tokens = this.#tokens;
    const mixed = Math.imul(Math.imul(Math.imul(tokens[end - 3], 0x9e3779b1) ^ tokens[end - 2], 0x85ebca6b) ^ tokens[end - 1], 0xc2b2ae35);
    const hash = mixed >>> this.#shift;
    this.#earlier[end] = this.#last[hash];
    this.#last[hash] = end;
  }

  #makeRoom(length: number): void {
    if (length <= this.#tokens.length) return;
    const capacity = Math.max(length, this.#tokens.length + (this.#tokens.length >> 1));
    this.#tokens = grown(this.#tokens, capacity);
    this.#earlier = grown(this.#earlier, capacity + 1);
  }
}

function grown(values: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  const more = new Int32Array(length);
  more.set(values);
  return more;
}
