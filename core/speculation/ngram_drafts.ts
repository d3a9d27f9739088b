/**
 * Drafts without a second model: what followed the last tokens when they last occurred, in the prompt or in the answer (prompt lookup decoding).
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
  readonly #prompt: readonly number[];
  /** Prompt and answer; of the prompt, as much as has been taken in. */
  #tokens: Int32Array<ArrayBuffer>;
  #length = 0;
  readonly #answer: number[] = [];
  /** By a hash of three tokens, the position after their last occurrence; 0: none. */
  readonly #last: Int32Array<ArrayBuffer>;
  /** By the position after three tokens, that after an earlier occurrence of their hash. */
  #earlier: Int32Array<ArrayBuffer>;
  readonly #shift: number;

  constructor(prompt: readonly number[]) {
    this.#prompt = prompt;
    const bits = Math.ceil(Math.log2(prompt.length + USUAL_ANSWER));
    this.#last = new Int32Array(1 << bits);
    this.#shift = 32 - bits;
    this.#tokens = new Int32Array(prompt.length + 64);
    this.#earlier = new Int32Array(prompt.length + 65);
  }

  /** The answer goes on. */
  push(token: number): void {
    this.#answer.push(token);
    if (this.#length >= this.#prompt.length) this.#catchUp();
  }

  /** What came after the longest match of the last tokens, the latest of equals; null: nothing matches, or the prompt is not taken in yet. @param most tokens of it */
  draft(most: number): NgramDraft | null {
    if (this.#length < this.#prompt.length + this.#answer.length) this.#catchUp();
    const length = this.#length;
    if (most < 1 || length < LEAST_MATCH + 1 || length < this.#prompt.length + this.#answer.length) return null;
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
    const prompt = this.#prompt.length;
    const end = Math.min(prompt + this.#answer.length, this.#length + TOKENS_AT_ONCE);
    this.#makeRoom(end);
    while (this.#length < end) {
      const token = this.#length < prompt ? this.#prompt[this.#length] : this.#answer[this.#length - prompt];
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
