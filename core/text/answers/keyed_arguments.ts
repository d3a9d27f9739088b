/**
 * Arguments that are written one by one, as an object of JSON. Strings are handed out as they come, other values when they are complete.
 *
 * @module
 */
import type { KeyedForm } from "./answer_grammar.ts";
import { type ArgumentTypes, jsonTypeOf } from "./argument_types.ts";
import { JsonEnd } from "./json_end.ts";

/** What one push brought. */
export interface ReadArguments {
  /** More of the arguments, as JSON. */
  readonly json: string;
  /** Where the arguments have ended: what follows them; null: they have not. */
  readonly rest: string | null;
}

/** Reads the arguments of one call. */
export interface ArgumentsReader {
  push(text: string): ReadArguments;
  /** What had been held back, where the arguments are cut off. */
  finish(): string;
}

/** "next": a name, or the end; "text" and "json": within a value that is a string or not known to be one. */
type State = "next" | "key" | "value" | "text" | "json" | "after";

/** Reads the arguments of one call. */
export class KeyedArguments implements ArgumentsReader {
  readonly #form: KeyedForm;
  readonly #callEnd: string;
  readonly #types: ArgumentTypes;
  #state: State = "next";
  #held = "";
  #key = "";
  /** Where to look on in what is held. */
  #seen = 0;
  #count = 0;

  constructor(form: KeyedForm, callEnd: string, types: ArgumentTypes) {
    this.#form = form;
    this.#callEnd = callEnd;
    this.#types = types;
  }

  push(text: string): ReadArguments {
    this.#held += text;
    let json = "";
    while (true) {
      if (this.#state === "next" && this.#ended()) return { json: `${json}${this.#count === 0 ? "{" : ""}}`, rest: this.#take(this.#held.length) };
      const more = this.#step();
      if (more === null) return { json: json + this.#early(), rest: null };
      json += more;
    }
  }

  finish(): string {
    if (this.#state === "text") return escaped(this.#take(this.#held.length));
    return this.#state === "json" ? this.#take(this.#held.length) : "";
  }

  /** Whether no name comes any more. */
  #ended(): boolean {
    this.#held = this.#held.trimStart();
    return this.#held.startsWith(this.#callEnd);
  }

  /** Takes what is complete; null: more has to come first. */
  #step(): string | null {
    const { key, value } = this.#form;
    switch (this.#state) {
      case "next":
        return this.#nextKey();
      case "key": {
        const name = this.#until(key[1]);
        if (name === null) return null;
        this.#key = name;
        this.#state = "value";
        return `${this.#count++ === 0 ? "{" : ", "}${JSON.stringify(name)}: `;
      }
      case "value":
        if (this.#until(value[0]) === null) return null;
        this.#state = this.#form.texts === "bare" && this.#onlyText() ? "text" : "json";
        this.#seen = 0;
        return this.#state === "text" ? '"' : "";
      case "text": {
        const text = this.#until(value[1]);
        if (text === null) return null;
        this.#state = "after";
        return `${escaped(text)}"`;
      }
      case "json":
        return this.#json();
      case "after":
        // Lines and commas between two arguments.
        this.#held = this.#held.trimStart();
        if (this.#held === "") return null;
        if (this.#form.separator !== "" && this.#held.startsWith(this.#form.separator)) this.#take(this.#form.separator.length);
        this.#state = "next";
        return "";
      default:
        return this.#state satisfies never;
    }
  }

  #nextKey(): string | null {
    const [begin] = this.#form.key;
    if (this.#held === "" || (begin !== "" && begin.startsWith(this.#held)) || this.#callEnd.startsWith(this.#held)) return null;
    // What is neither a name nor the end is nobody's.
    if (begin !== "" && !this.#held.startsWith(begin)) this.#take(1);
    else {
      this.#take(begin.length);
      this.#state = "key";
    }
    return "";
  }

  /** A value that is JSON, unless it turns out to be none. */
  #json(): string | null {
    const [, end] = this.#form.value;
    if (end === "") {
      const length = new JsonEnd({ scalars: `${this.#form.separator}${this.#callEnd}` }).push(this.#held);
      if (length < 0) return null;
      this.#state = "after";
      return this.#take(length).trim();
    }
    for (let at = this.#held.indexOf(end, this.#seen); at >= 0; at = this.#held.indexOf(end, at + 1)) {
      this.#seen = at + 1;
      const text = this.#held.slice(0, at);
      const json = this.#asJson(text);
      // JSON may hold in a string what ends it.
      if (json === null && !this.#mayBeText() && /^\s*["[{]/.test(text)) continue;
      this.#take(at + end.length);
      this.#state = "after";
      return json ?? JSON.stringify(text);
    }
    this.#seen = Math.max(0, this.#held.length - end.length + 1, this.#seen);
    return null;
  }

  /** What can be told of a string before it has ended. */
  #early(): string {
    if (this.#state !== "text") return "";
    const [, end] = this.#form.value;
    let kept = Math.min(end.length - 1, this.#held.length);
    while (kept > 0 && !end.startsWith(this.#held.slice(-kept))) kept--;
    // Half a character is none.
    const text = this.#held.slice(0, this.#held.length - kept);
    const half = /[\ud800-\udbff]$/.test(text) ? 1 : 0;
    return escaped(this.#take(text.length - half));
  }

  /** The value as JSON; null if it is none of a type that the argument may have. */
  #asJson(text: string): string | null {
    try {
      const type = jsonTypeOf(JSON.parse(text));
      const types = this.#allowed();
      const fits = types === undefined || types.includes(type) || (type === "integer" && types.includes("number"));
      return fits && (type !== "string" || !this.#mayBeText()) ? text.trim() : null;
    } catch {
      return null;
    }
  }

  #allowed(): readonly string[] | undefined {
    return Object.hasOwn(this.#types, this.#key) ? this.#types[this.#key] : undefined;
  }

  #onlyText(): boolean {
    return this.#allowed()?.every((type) => type === "string") ?? false;
  }

  #mayBeText(): boolean {
    return this.#allowed()?.includes("string") ?? true;
  }

  /** What comes before a marker, which is taken, too. */
  #until(marker: string): string | null {
    const at = this.#held.indexOf(marker);
    if (at < 0) return null;
    const text = this.#take(at);
    this.#take(marker.length);
    return text;
  }

  #take(length: number): string {
    const text = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    this.#seen = 0;
    return text;
  }
}

/** A part of a string, without quotes. */
function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}
