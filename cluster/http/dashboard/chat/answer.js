// One answer, as it comes: reasoning, text, and how fast it was.

const seconds = (ms) => ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;

/** Milliseconds below which what came says how the network bundled it, and not how fast it was. */
const LEAST_REST = 100;

/** How fast an answer came. @param first milliseconds until its first token @param rest milliseconds from there to its last */
export function speedOf({ first, rest, tokens }) {
  if (first === null) return "";
  const said = [`first token after ${seconds(first)}`];
  if (tokens !== null) said.unshift(tokens === 1 ? "1 token" : `${tokens} tokens`);
  if (tokens > 1 && rest >= LEAST_REST) said.push(`${((tokens - 1) / rest * 1000).toFixed(1)} tokens/s`);
  return said.join(" · ");
}

/** An answer in a list item. */
export class Answer {
  #item;
  #asked = performance.now();
  #first = null;
  #last = null;
  #tokens = null;
  #cut = false;
  #parts = new Map();

  constructor(item) {
    this.#item = item;
  }

  /** What was answered, without reasoning. */
  get text() {
    return this.#parts.get("text")?.textContent ?? "";
  }

  /** One event of the stream. */
  take({ choices: [choice], usage }) {
    this.#add("reasoning", choice?.delta.reasoning_content);
    this.#add("text", choice?.delta.content);
    this.#cut ||= choice?.finish_reason === "length";
    this.#tokens = usage?.completion_tokens ?? this.#tokens;
  }

  /** It is over. @param stopped by the user @param error why it failed */
  end({ stopped = false, error = null } = {}) {
    if (error !== null) {
      this.#item.classList.add("error");
      this.#note("", `${error.message} This question is not part of the conversation; “Again” asks it once more.`);
    } else if (stopped) this.#note("cut", "stopped");
    else if (this.#cut) this.#note("cut", "cut: it reached “Most tokens”, in the settings");
    const speed = speedOf({ first: this.#first, rest: this.#last - this.#first, tokens: this.#tokens });
    if (speed !== "") this.#note("speed", speed);
  }

  #add(kind, text) {
    if (!text) return;
    this.#last = performance.now() - this.#asked;
    this.#first ??= this.#last;
    const part = this.#parts.get(kind) ?? this.#note(kind, "");
    this.#parts.set(kind, part);
    part.append(text);
  }

  #note(className, text) {
    const span = document.createElement("span");
    span.className = className;
    span.textContent = text;
    this.#item.append(span);
    return span;
  }
}
