/**
 * Where three tokens in a row stood before: of a prompt once, for all sequences that begin with it, and of each answer behind it by itself.
 *
 * @module
 */

/** Tokens that must have occurred before. */
export const LEAST_MATCH = 3;

/** Tokens beyond which a match is not measured. */
const LONGEST_MATCH = 32;

/** Earlier occurrences that are looked at, the latest first. */
const MOST_OCCURRENCES = 16;

/** Bits of a place in an answer's index: up to some thousands of tokens, few share one. */
const ANSWER_BITS = 12;

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

/** Indexes of prompts, by the arrays of the prompt and of what is expected. */
const SHARED = new WeakMap<readonly number[], WeakMap<readonly number[], PromptIndex>>();

/** What is expected of an answer and then the prompt, as one row of tokens, which many sequences have in common. */
export class PromptIndex {
  /** Tokens that it will have. */
  readonly length: number;
  readonly #parts: readonly (readonly number[])[];
  readonly #shift: number;
  /** Tokens that are taken in. */
  #taken = 0;
  #tokens: Int32Array<ArrayBuffer> | null = null;
  /** By a hash of three tokens, the position after their last occurrence; 0: none. */
  #last = new Int32Array(0);
  /** By the position after three tokens, that after an earlier occurrence of their hash. */
  #earlier = new Int32Array(0);

  private constructor(parts: readonly (readonly number[])[]) {
    this.#parts = parts;
    this.length = parts.reduce((sum, { length }) => sum + length, 0);
    this.#shift = 32 - Math.ceil(Math.log2(Math.max(2, this.length)));
  }

  /** The one of these arrays, which nobody changes. */
  static of(prompt: readonly number[], expected: readonly number[]): PromptIndex {
    const ofPrompt = SHARED.get(prompt) ?? new WeakMap<readonly number[], PromptIndex>();
    SHARED.set(prompt, ofPrompt);
    const index = ofPrompt.get(expected) ?? new PromptIndex([expected, prompt]);
    ofPrompt.set(expected, index);
    return index;
  }

  /** Takes more in. @returns whether everything is */
  catchUp(budget: IndexBudget): boolean {
    if (this.#taken === this.length) return true;
    if (budget.tokens < 1) return false;
    const tokens = this.#tokens ??= this.#allocate();
    let start = 0;
    for (const part of this.#parts) {
      const until = Math.min(start + part.length, this.#taken + budget.tokens);
      budget.tokens -= Math.max(0, until - this.#taken);
      while (this.#taken < until) {
        tokens[this.#taken] = part[this.#taken - start];
        if (++this.#taken >= LEAST_MATCH) this.#enter(this.#taken);
      }
      start += part.length;
    }
    return this.#taken === this.length;
  }

  /** The token at a position that has been taken in. */
  at(position: number): number {
    return this.#tokens![position];
  }

  /** The last place behind three tokens of that hash; 0: none. */
  lastOf(mixed: number): number {
    return this.#last.length === 0 ? 0 : this.#last[mixed >>> this.#shift];
  }

  /** The place before that. */
  before(end: number): number {
    return this.#earlier[end];
  }

  #allocate(): Int32Array<ArrayBuffer> {
    this.#last = new Int32Array(2 ** (32 - this.#shift));
    this.#earlier = new Int32Array(this.length + 1);
    return new Int32Array(this.length);
  }

  #enter(end: number): void {
    const hash = mix(this.at(end - 3), this.at(end - 2), this.at(end - 1)) >>> this.#shift;
    this.#earlier[end] = this.#last[hash];
    this.#last[hash] = end;
  }
}

/** The same of one answer, behind a prompt that is taken in. Positions go on behind the prompt's. */
export class AnswerIndex {
  readonly #prompt: PromptIndex;
  #tokens = new Int32Array(64);
  #taken = 0;
  readonly #last = new Int32Array(1 << ANSWER_BITS);
  #earlier = new Int32Array(64);

  constructor(prompt: PromptIndex) {
    this.#prompt = prompt;
  }

  /** Takes more of the answer in. @returns whether everything is */
  catchUp(answer: readonly number[], budget: IndexBudget): boolean {
    const until = Math.min(answer.length, this.#taken + Math.max(0, budget.tokens));
    budget.tokens -= until - this.#taken;
    this.#makeRoom(until);
    for (; this.#taken < until; this.#taken++) {
      this.#tokens[this.#taken] = answer[this.#taken];
      const end = this.#prompt.length + this.#taken + 1;
      if (end >= LEAST_MATCH) this.#enter(end);
    }
    return this.#taken === answer.length;
  }

  /** What came after the longest match of the last tokens, the latest of equals; null: nothing matches. */
  draft(most: number): NgramDraft | null {
    const { length: begun } = this.#prompt;
    const length = begun + this.#taken;
    if (length <= LEAST_MATCH) return null;
    let found = 0;
    let matched = 0;
    let at = this.#before(length, length);
    for (let looked = 0; at > 0 && looked < MOST_OCCURRENCES && matched < LONGEST_MATCH; looked++, at = this.#before(at, length)) {
      let same = 0;
      while (same < LONGEST_MATCH && same < at && this.#at(at - 1 - same) === this.#at(length - 1 - same)) same++;
      if (same > matched) [found, matched] = [at, same];
    }
    if (matched < LEAST_MATCH) return null;
    const draft: number[] = [];
    // What repeats with a period shorter than the draft goes on repeating.
    for (let i = 0; i < most; i++) draft.push(found + i < length ? this.#at(found + i) : draft[found + i - length]);
    return { tokens: draft, matched };
  }

  #at(position: number): number {
    const own = position - this.#prompt.length;
    return own < 0 ? this.#prompt.at(position) : this.#tokens[own];
  }

  /** The place before one where the last three tokens, or others of their hash, stood; 0: none. In the prompt, hashes are others: there it is looked for anew. */
  #before(end: number, length: number): number {
    const { length: begun } = this.#prompt;
    if (end <= begun) return this.#prompt.before(end);
    const own = this.#earlier[end - begun - 1];
    return own > 0 ? own : this.#prompt.lastOf(this.#mixedAt(length));
  }

  #mixedAt(end: number): number {
    return mix(this.#at(end - 3), this.#at(end - 2), this.#at(end - 1));
  }

  #enter(end: number): void {
    const hash = this.#mixedAt(end) >>> (32 - ANSWER_BITS);
    this.#earlier[end - this.#prompt.length - 1] = this.#last[hash];
    this.#last[hash] = end;
  }

  #makeRoom(length: number): void {
    if (length <= this.#tokens.length) return;
    const capacity = Math.max(length, this.#tokens.length + (this.#tokens.length >> 1));
    this.#tokens = grown(this.#tokens, capacity);
    this.#earlier = grown(this.#earlier, capacity);
  }
}

function mix(a: number, b: number, c: number): number {
  return Math.imul(Math.imul(Math.imul(a, 0x9e3779b1) ^ b, 0x85ebca6b) ^ c, 0xc2b2ae35);
}

function grown(values: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  const more = new Int32Array(length);
  more.set(values);
  return more;
}
