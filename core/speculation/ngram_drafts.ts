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

/** Tokens of a prompt that are taken in at a time: some tenths of a millisecond. */
const TOKENS_AT_ONCE = 1 << 14;

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

/** The tokens of one sequence, indexed by each three in a row. */
export class NgramDrafts {
  /** What is expected, and the prompt. */
  readonly #given: readonly number[];
  readonly #expected: readonly number[];
  /** Tokens of what is expected that came, as long as no others did; null: others did. */
  #asExpected: number | null = 0;
  /** What is given and the answer; of what is given, as much as has been taken in. */
  #tokens: Int32Array<ArrayBuffer>;
  #length = 0;
  readonly #answer: number[] = [];
  /** By a hash of three tokens, the position after their last occurrence; 0: none. */
  readonly #last: Int32Array<ArrayBuffer>;
  /** By the position after three tokens, that after an earlier occurrence of their hash. */
  #earlier: Int32Array<ArrayBuffer>;
  readonly #shift: number;

  /** @param expected what the answer may be like, apart from changes; default: nothing is expected */
  constructor(prompt: readonly number[], expected: readonly number[] = []) {
    this.#given = expected.length === 0 ? prompt : [...expected, ...prompt];
    this.#expected = expected;
    const bits = Math.ceil(Math.log2(this.#given.length + USUAL_ANSWER));
    this.#last = new Int32Array(1 << bits);
    this.#shift = 32 - bits;
    this.#tokens = new Int32Array(this.#given.length + 64);
    this.#earlier = new Int32Array(this.#given.length + 65);
  }

  /** The answer goes on. */
  push(token: number): void {
    this.#answer.push(token);
    if (this.#asExpected !== null) this.#asExpected = token === this.#expected[this.#asExpected] ? this.#asExpected + 1 : null;
    if (this.#length >= this.#given.length) this.#catchUp();
  }

  /** What came after the longest match of the last tokens, the latest of equals; null: nothing matches, or the prompt is not taken in yet. @param most tokens of it */
  draft(most: number): NgramDraft | null {
    const all = this.#given.length + this.#answer.length;
    if (this.#length < all) this.#catchUp();
    if (most < 1) return null;
    if (this.#asExpected !== null && this.#asExpected < this.#expected.length) {
      return { tokens: this.#expected.slice(this.#asExpected, this.#asExpected + most), matched: Math.max(AS_EXPECTED, this.#asExpected) };
    }
    const length = this.#length;
    if (length < LEAST_MATCH + 1 || length < all) return null;
    const tokens = this.#tokens;
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

  /** Takes in what is new, of a long prompt a part: nothing that grows with it may hold up others. */
  #catchUp(): void {
    const given = this.#given.length;
    const end = Math.min(given + this.#answer.length, this.#length + TOKENS_AT_ONCE);
    this.#makeRoom(end);
    while (this.#length < end) {
      const token = this.#length < given ? this.#given[this.#length] : this.#answer[this.#length - given];
      this.#tokens[this.#length++] = token;
      if (this.#length >= LEAST_MATCH) this.#index(this.#length);
    }
  }

  #index(end: number): void {
    const tokens = this.#tokens;
    const hash = Math.imul(Math.imul(Math.imul(tokens[end - 3], 0x9e3779b1) ^ tokens[end - 2], 0x85ebca6b) ^ tokens[end - 1], 0xc2b2ae35) >>>
      this.#shift;
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
