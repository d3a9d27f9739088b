// An answer as it comes, how fast it was, and how it ended.

/** How long something took. @param {number} ms */
export const seconds = (ms) => ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;

/** Milliseconds below which what came says how the network bundled it, and not how fast it was. */
const LEAST_REST = 100;

/** How fast an answer came. @param {Pick<import("./conversation.js").End, "first" | "rest" | "tokens">} end */
export function speedOf({ first, rest, tokens }) {
  if (first === null) return "";
  const told = [`first token after ${seconds(first)}`];
  if (tokens > 1 && rest >= LEAST_REST) told.unshift(`${((tokens - 1) / rest * 1000).toFixed(1)} tokens/s`);
  if (tokens !== null) told.unshift(tokens === 1 ? "1 token" : `${tokens} tokens`);
  return told.join(" · ");
}

/** A message as a sentence, so that more can follow it: servers end theirs as they like. @param {string} message */
export const sentence = (message) => /[.!?…]["'”’)\]]*$/.test(message.trim()) ? message.trim() : `${message.trim().replace(/[:;,]$/, "")}.`;

/** Why an answer is not whole; empty: it is. @param {import("./conversation.js").End | null} end */
export function cutOf(end) {
  if (end === null) return "Cut: the page was closed before the answer ended.";
  switch (end.kind) {
    case "whole":
      return "";
    case "length":
      return "Cut: no more tokens were allowed, by the settings or by the model's context.";
    case "stopped":
      return "Stopped.";
    case "broken":
      return "Cut: the connection ended before the answer did.";
    case "error":
      return `${sentence(end.message)} This question is no part of the conversation until it is asked again.`;
  }
}

/** Writes an answer down as it comes. */
export class Incoming {
  #answer;
  #now;
  #asked;
  #first = null;
  #last = null;
  #firstText = null;
  #reason = null;
  #tokens = null;
  /** How what it goes on from ended; null: it begins. */
  #before;

  /** @param {import("./conversation.js").Said} answer where it is written, behind what it says already @param {() => number} now milliseconds */
  constructor(answer, now = () => performance.now()) {
    this.#answer = answer;
    this.#now = now;
    this.#asked = now();
    this.#before = answer.end;
    answer.end = null;
  }

  /** One event of the stream. @param {{ choices: object[], usage?: { completion_tokens: number } }} event */
  take({ choices: [choice], usage }) {
    const { reasoning_content: reasoning, content } = choice?.delta ?? {};
    if (reasoning || content) {
      this.#last = this.#now() - this.#asked;
      this.#first ??= this.#last;
    }
    if (content) this.#firstText ??= this.#last;
    this.#answer.reasoning += reasoning ?? "";
    this.#answer.text += content ?? "";
    this.#reason ??= choice?.finish_reason ?? null;
    this.#tokens = usage?.completion_tokens ?? this.#tokens;
  }

  /** It is over. @param {{ stopped?: boolean, error?: Error | null }} how `stopped` by the user, or because of an `error` */
  end({ stopped = false, error = null } = {}) {
    const before = this.#before;
    // An answer that cannot go on is what it was.
    if (before !== null && error !== null && !stopped) return void (this.#answer.end = before);
    const first = this.#first;
    const own = {
      first,
      rest: first === null ? 0 : this.#last - first,
      tokens: this.#tokens,
      thought: this.#answer.reasoning === "" || first === null ? null : (this.#firstText ?? this.#last) - first,
    };
    this.#answer.end = {
      kind: stopped ? "stopped" : error !== null ? "error" : this.#reason === "length" ? "length" : this.#reason === null ? "broken" : "whole",
      ...error === null || stopped ? {} : { message: error.message },
      ...before === null ? own : {
        first: before.first,
        rest: before.rest + own.rest,
        tokens: before.tokens === null || own.tokens === null ? null : before.tokens + own.tokens,
        thought: before.thought,
      },
    };
  }
}
