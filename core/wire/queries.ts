/**
 * Queries of logits and their answers as messages: the small parts in the message, lists in the payload.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import type { LogitsAnswer, LogitsQuery } from "../generation.ts";
import { floatBits } from "../numeric.ts";
import type { Adjustment } from "../sampling/adjustments.ts";
import { type CandidateList, joinCandidates, listWords, readCandidates, writeCandidates } from "../sampling/candidates.ts";
import type { Ask } from "./messages.ts";

/** token, bits of repetition, bits of addend */
const ADJUSTMENT_WORDS = 3;

/** The part of a query that is a message. */
export function askOf({ key, position, inverseTemperature, plain, adjusted, adjustments, draw }: LogitsQuery): Ask {
  return { key, position, inverseTemperature, plain, adjusted, adjustments: adjustments.length, draw };
}

/** Tokens, then the adjustments of a query: the payload of a request. */
export function encodeRequestPayload(tokens: readonly number[], adjustments: readonly Adjustment[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(tokens.length + adjustments.length * ADJUSTMENT_WORDS);
  words.set(tokens);
  adjustments.forEach(({ token, repetition, addend }, i) => {
    words.set([token, floatBits(repetition), floatBits(addend)], tokens.length + i * ADJUSTMENT_WORDS);
  });
  return words;
}

/**
 * Takes a request's payload apart.
 *
 * @param tokens how many tokens are announced
 * @throws {LatentmeshError} `protocol` if the payload has another length
 */
export function decodeRequestPayload(payload: Uint8Array<ArrayBuffer>, tokens: number, ask: Ask | null) {
  const adjustments = ask?.adjustments ?? 0;
  checkBytes(payload, (tokens + adjustments * ADJUSTMENT_WORDS) * 4);
  const words = new Uint32Array(payload.buffer, payload.byteOffset, payload.byteLength / 4);
  const floats = new Float32Array(payload.buffer, payload.byteOffset, payload.byteLength / 4);
  const list = Array.from({ length: adjustments }, (_, i): Adjustment => {
    const at = tokens + i * ADJUSTMENT_WORDS;
    return { token: words[at], repetition: floats[at + 1], addend: floats[at + 2] };
  });
  return { tokens: Array.from(words.subarray(0, tokens)), query: ask === null ? null : { ...ask, adjustments: list } satisfies LogitsQuery };
}

/** What a query asks to be sent back. */
export interface AnswerShape {
  readonly plain: number;
  readonly adjusted: number;
  /** Lists of prompt positions, and candidates in each. */
  readonly prompt: number;
  readonly promptCandidates: number;
}

/** What answers a request. */
export interface Answers extends LogitsAnswer {
  readonly prompt: readonly CandidateList[];
}

/** Lists one after the other: plain, adjusted, prompt positions. */
export function encodeAnswers({ plain, adjusted, prompt }: Answers): Uint32Array<ArrayBuffer> {
  const lists = [plain, adjusted, ...prompt].filter((list) => list !== null);
  const words = new Uint32Array(lists.reduce((sum, { tokens }) => sum + listWords(tokens.length), 0));
  let at = 0;
  for (const list of lists) {
    const end = at + listWords(list.tokens.length);
    writeCandidates(words.subarray(at, end), list);
    at = end;
  }
  return words;
}

/** Takes an answer apart. @throws {LatentmeshError} `protocol` if it is not of the shape that was asked for */
export function decodeAnswers(payload: Uint8Array<ArrayBuffer>, { plain, adjusted, prompt, promptCandidates }: AnswerShape): Answers {
  const words = (count: number) => (count === 0 ? 0 : listWords(count));
  const [afterPlain, stride] = [words(plain), listWords(promptCandidates)];
  const afterAdjusted = afterPlain + words(adjusted);
  checkBytes(payload, (afterAdjusted + prompt * stride) * 4);
  const list = (word: number, count: number) => (count === 0 ? null : readCandidates(payload.subarray(word * 4), 0, count));
  return {
    plain: list(0, plain),
    adjusted: list(afterPlain, adjusted),
    prompt: Array.from({ length: prompt }, (_, i) => readCandidates(payload.subarray(afterAdjusted * 4), i, promptCandidates, stride)),
  };
}

/** Joins what ranks answer about their parts of the vocabulary. @param owner which rank holds the target of a prompt position */
export function joinAnswers(answers: readonly Answers[], owner: (promptPosition: number) => number): Answers {
  const joined = (pick: (answer: Answers) => CandidateList | null): CandidateList | null => {
    const lists = answers.map(pick);
    return lists[0] === null ? null : joinCandidates(lists as CandidateList[]);
  };
  return {
    plain: joined(({ plain }) => plain),
    adjusted: joined(({ adjusted }) => adjusted),
    prompt: answers[0].prompt.map((_, i) => joinCandidates(answers.map(({ prompt }) => prompt[i]), owner(i))),
  };
}

function checkBytes(payload: Uint8Array, expected: number): void {
  if (payload.byteLength !== expected) {
    throw new LatentmeshError("protocol", `A payload has ${payload.byteLength} bytes where ${expected} are expected`);
  }
}
