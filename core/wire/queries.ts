/**
 * The payloads of requests and replies: tokens, what is asked of logits, and candidate lists, as 32-bit words. Messages say how many there are of each.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import type { LogitsAnswer, LogitsQuery } from "../generation.ts";
import { floatBits } from "../numeric.ts";
import type { Adjustment } from "../sampling/adjustments.ts";
import { type CandidateList, joinCandidates, listWords, MOST_CANDIDATES, readList, writeCandidates } from "../sampling/candidates.ts";

/** One token of a decode step. */
export interface TokenRow {
  readonly sequence: number;
  readonly token: number;
  readonly position: number;
}

/** A query as it travels: what changes logits are tables that the ranks were given before, and what has changed since the last query. */
export interface QueryFrame extends Omit<LogitsQuery, "adjustments" | "mask"> {
  /** Table of adjustments to begin with, 0 for an empty one; null: those that the sequence has by its last query. */
  readonly base: number | null;
  /** Adjustments that come instead of others of their tokens. */
  readonly changes: readonly Adjustment[];
  /** Table of the tokens that a grammar allows; null: all are allowed. */
  readonly mask: number | null;
}

/** sequence, token, position */
const ROW_WORDS = 3;
/** key, position, bits of 1 / temperature, plain, adjusted, draw, whether adjustments begin anew, base, mask, changes */
const QUERY_WORDS = 10;
/** token, bits of repetition, bits of addend */
const ADJUSTMENT_WORDS = 3;

/** Payload of a decode step: rows, then queries. */
export function encodeStep(rows: readonly TokenRow[], queries: readonly QueryFrame[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(rows.length * ROW_WORDS + queryWords(queries));
  rows.forEach(({ sequence, token, position }, i) => {
    words[i * ROW_WORDS] = sequence;
    words[i * ROW_WORDS + 1] = token;
    words[i * ROW_WORDS + 2] = position;
  });
  writeQueries(words, rows.length * ROW_WORDS, queries);
  return words;
}

/** The other way. @throws {LatentmeshError} `protocol` if it is not of the announced size */
export function decodeStep(payload: Uint8Array<ArrayBuffer>, rows: number, asks: number) {
  const reader = new Reader(payload);
  return {
    rows: Array.from({ length: rows }, (): TokenRow => {
      const [sequence, token, position] = reader.words(ROW_WORDS);
      return { sequence, token, position };
    }),
    queries: reader.queriesToTheEnd(asks),
  };
}

/** Payload of a prefill chunk: tokens, then queries. */
export function encodePrompt(tokens: readonly number[], queries: readonly QueryFrame[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(tokens.length + queryWords(queries));
  words.set(tokens);
  writeQueries(words, tokens.length, queries);
  return words;
}

/** The other way. @throws {LatentmeshError} `protocol` if it is not of the announced size */
export function decodePrompt(payload: Uint8Array<ArrayBuffer>, tokens: number, asks: number) {
  const reader = new Reader(payload);
  return { tokens: Array.from(reader.words(tokens)), queries: reader.queriesToTheEnd(asks) };
}

function queryWords(queries: readonly QueryFrame[]): number {
  return queries.reduce((sum, { changes }) => sum + QUERY_WORDS + changes.length * ADJUSTMENT_WORDS, 0);
}

function writeQueries(words: Uint32Array, from: number, queries: readonly QueryFrame[]): void {
  let at = from;
  for (const { key, position, inverseTemperature, plain, adjusted, draw, base, mask, changes } of queries) {
    words[at++] = key;
    words[at++] = position;
    words[at++] = floatBits(inverseTemperature);
    words[at++] = plain;
    words[at++] = adjusted;
    words[at++] = draw ? 1 : 0;
    words[at++] = base === null ? 0 : 1;
    words[at++] = base ?? 0;
    words[at++] = mask ?? 0;
    words[at++] = changes.length;
    at = writeAdjustments(words, at, changes);
  }
}

function writeAdjustments(words: Uint32Array, from: number, adjustments: readonly Adjustment[]): number {
  let at = from;
  for (const { token, repetition, addend } of adjustments) {
    words[at++] = token;
    words[at++] = floatBits(repetition);
    words[at++] = floatBits(addend);
  }
  return at;
}

/** Payload of tables: adjustments, then masks. */
export function encodeTables(adjustments: readonly (readonly Adjustment[])[], masks: readonly Uint32Array[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(
    adjustments.reduce((sum, { length }) => sum + length * ADJUSTMENT_WORDS, 0) + masks.reduce((sum, { length }) => sum + length, 0),
  );
  let at = 0;
  for (const table of adjustments) at = writeAdjustments(words, at, table);
  for (const mask of masks) {
    words.set(mask, at);
    at += mask.length;
  }
  return words;
}

/** The other way. @param adjustments,masks how long each one is @throws {LatentmeshError} `protocol` if it is not of the announced size */
export function decodeTables(payload: Uint8Array<ArrayBuffer>, adjustments: readonly number[], masks: readonly number[]) {
  const reader = new Reader(payload);
  const tables = { adjustments: adjustments.map((count) => reader.adjustments(count)), masks: masks.map((words) => reader.words(words).slice()) };
  reader.end();
  return tables;
}

/** Takes a payload apart, never reading beyond its end. */
class Reader {
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #floats: Float32Array<ArrayBuffer>;
  #at = 0;

  constructor(payload: Uint8Array<ArrayBuffer>) {
    if (payload.byteLength % 4 !== 0) throw wrongSize(payload.byteLength);
    this.#words = new Uint32Array(payload.buffer, payload.byteOffset, payload.byteLength / 4);
    this.#floats = new Float32Array(payload.buffer, payload.byteOffset, payload.byteLength / 4);
  }

  words(count: number): Uint32Array<ArrayBuffer> {
    if (count > this.#words.length - this.#at) throw wrongSize(this.#words.byteLength);
    this.#at += count;
    return this.#words.subarray(this.#at - count, this.#at);
  }

  adjustments(count: number): Adjustment[] {
    const at = this.#at;
    const words = this.words(count * ADJUSTMENT_WORDS);
    return Array.from({ length: count }, (_, i) => ({
      token: words[i * ADJUSTMENT_WORDS],
      repetition: this.#floats[at + i * ADJUSTMENT_WORDS + 1],
      addend: this.#floats[at + i * ADJUSTMENT_WORDS + 2],
    }));
  }

  queriesToTheEnd(count: number): QueryFrame[] {
    const queries = Array.from({ length: count }, () => this.#query());
    this.end();
    return queries;
  }

  end(): void {
    if (this.#at !== this.#words.length) throw wrongSize(this.#words.byteLength);
  }

  #query(): QueryFrame {
    const floats = this.#floats.subarray(this.#at);
    const [key, position, , plain, adjusted, draw, anew, base, mask, changes] = this.words(QUERY_WORDS);
    if (plain > MOST_CANDIDATES || adjusted > MOST_CANDIDATES) {
      throw new LatentmeshError("protocol", `${Math.max(plain, adjusted)} candidates were asked for; the most are ${MOST_CANDIDATES}`);
    }
    return {
      key,
      position,
      inverseTemperature: floats[2],
      plain,
      adjusted,
      draw: draw !== 0,
      base: anew === 0 ? null : base,
      mask: mask === 0 ? null : mask,
      changes: this.adjustments(changes),
    };
  }
}

/** What answering took, in milliseconds. */
export interface AnswerTimes {
  /** All of it. */
  readonly totalMs: number;
  /** The part of it that was spent in each sum, in order. */
  readonly waitsMs: readonly number[];
}

/** What is sent back. */
export interface Answers {
  /** One for each query. */
  readonly answers: readonly LogitsAnswer[];
  /** Of the prompt's positions, where log-probabilities are wanted. */
  readonly prompt: readonly CandidateList[];
}

/** How much of it there must be. */
export interface AnswerShape {
  /** Sums of which it is told how long they took. */
  readonly sums: number;
  readonly queries: readonly Pick<LogitsQuery, "plain" | "adjusted">[];
  /** Lists of prompt positions, and candidates in each. */
  readonly prompt: number;
  readonly promptCandidates: number;
}

/** Times, then lists one after the other: plain and adjusted of every query, then prompt positions. */
export function encodeAnswers({ answers, prompt }: Answers, { totalMs, waitsMs }: AnswerTimes): Uint32Array<ArrayBuffer> {
  const lists = [...answers.flatMap(({ plain, adjusted }) => [plain, adjusted]), ...prompt].filter((list) => list !== null);
  const words = new Uint32Array(1 + waitsMs.length + lists.reduce((sum, { tokens }) => sum + listWords(tokens.length), 0));
  const floats = new Float32Array(words.buffer);
  floats[0] = totalMs;
  floats.set(waitsMs, 1);
  let at = 1 + waitsMs.length;
  for (const list of lists) {
    const end = at + listWords(list.tokens.length);
    writeCandidates(words.subarray(at, end), list);
    at = end;
  }
  return words;
}

/** Takes answers apart. @throws {LatentmeshError} `protocol` if they are not of the shape that was asked for */
export function decodeAnswers(payload: Uint8Array<ArrayBuffer>, { sums, queries, prompt, promptCandidates }: AnswerShape): Answers & AnswerTimes {
  const words = (count: number) => (count === 0 ? 0 : listWords(count));
  const expected = queries.reduce((sum, { plain, adjusted }) => sum + words(plain) + words(adjusted), 1 + sums + prompt * words(promptCandidates));
  if (payload.byteLength !== expected * 4) {
    throw new LatentmeshError("protocol", `A payload has ${payload.byteLength} bytes where ${expected * 4} are expected`);
  }
  const all = new Uint32Array(payload.buffer, payload.byteOffset, expected);
  const floats = new Float32Array(payload.buffer, payload.byteOffset, expected);
  let at = 1 + sums;
  const next = (count: number): CandidateList | null => {
    if (count === 0) return null;
    const list = readList(all, floats, at, count);
    at += listWords(count);
    return list;
  };
  return {
    totalMs: floats[0],
    waitsMs: Array.from(floats.subarray(1, 1 + sums)),
    answers: queries.map(({ plain, adjusted }) => ({ plain: next(plain), adjusted: next(adjusted) })),
    prompt: Array.from({ length: prompt }, () => next(promptCandidates)!),
  };
}

/** Joins what ranks answer about their parts of the vocabulary. @param owner which rank holds the target of a prompt position */
export function joinAnswers(ranks: readonly Answers[], owner: (promptPosition: number) => number): Answers {
  const joined = (pick: (rank: Answers) => CandidateList | null): CandidateList | null => {
    const lists = ranks.map(pick);
    return lists[0] === null ? null : joinCandidates(lists as CandidateList[]);
  };
  return {
    answers: ranks[0].answers.map((_, i) => ({
      plain: joined(({ answers }) => answers[i].plain),
      adjusted: joined(({ answers }) => answers[i].adjusted),
    })),
    prompt: ranks[0].prompt.map((_, i) => joinCandidates(ranks.map(({ prompt }) => prompt[i]), owner(i))),
  };
}

function wrongSize(bytes: number): LatentmeshError {
  return new LatentmeshError("protocol", `A payload of ${bytes} bytes is not what its message announces`);
}
