/**
 * Which model a request is for, found in its body before the body is parsed: that is done by a process of that model.
 *
 * @module
 */

const [QUOTE, BACKSLASH, COLON, COMMA] = [...'"\\:,'].map((character) => character.charCodeAt(0));
const OPENING = new Set([..."{["].map((character) => character.charCodeAt(0)));
const CLOSING = new Set([..."}]"].map((character) => character.charCodeAt(0)));

/** Bytes of a name; nobody's is longer. */
const LONGEST = 1024;
/** Bytes that are told of one that is. */
const TOLD = 300;

/**
 * The text under the name `model` in a JSON object; undefined where there is none, it is no text, or the body is no JSON object. What is said twice counts the last
 * time, as for parsers. Of a text that no model can be called, the beginning.
 */
export function requestedModel(body: Uint8Array<ArrayBuffer>): string | undefined {
  let depth = 0;
  /** Whether what comes next is a key of the outer object. */
  let isKey = false;
  let key: string | null = null;
  let model: string | undefined;
  for (let at = 0; at < body.length; at++) {
    const byte = body[at];
    if (byte === QUOTE) {
      const end = endOfText(body, at);
      if (depth === 1) {
        if (isKey) key = textOf(body, at, end);
        else if (key === "model") model = nameOf(body, at, end);
        isKey = false;
      }
      at = end;
    } else if (OPENING.has(byte)) {
      if (depth === 1 && key === "model") model = undefined;
      depth++;
      isKey = depth === 1;
    } else if (CLOSING.has(byte)) {
      depth--;
    } else if (depth === 1 && byte === COMMA) {
      [isKey, key] = [true, null];
    } else if (depth === 1 && key === "model" && byte !== COLON && byte > 32) {
      // A number, or null.
      model = undefined;
    }
  }
  return model;
}

/** Where a text that begins with a quote has its other one. */
function endOfText(body: Uint8Array<ArrayBuffer>, begin: number): number {
  for (let at = begin + 1; at < body.length; at++) {
    if (body[at] === BACKSLASH) at++;
    else if (body[at] === QUOTE) return at;
  }
  return body.length;
}

/** Not nobody's: a request for a model that there is not must not go to the first. */
function nameOf(body: Uint8Array<ArrayBuffer>, begin: number, end: number): string | undefined {
  if (end - begin > LONGEST) return `${new TextDecoder().decode(body.subarray(begin + 1, begin + 1 + TOLD))}…`;
  return textOf(body, begin, end) ?? undefined;
}

function textOf(body: Uint8Array<ArrayBuffer>, begin: number, end: number): string | null {
  if (end - begin > LONGEST) return null;
  try {
    return JSON.parse(new TextDecoder().decode(body.subarray(begin, end + 1)));
  } catch {
    return null;
  }
}
