/**
 * JSON in pieces: writing a long answer at once would keep everything else waiting.
 *
 * @module
 */

import { Slices } from "../../core/slices.ts";

/** JSON that has been written already. */
export class WrittenJson {
  readonly bytes: Uint8Array<ArrayBuffer>;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
  }
}

/** Elements of a list that are written at a time. */
const RUN = 64;
/** The lists of choices and of their parts are looked into; what is inside of those is small. */
const DEEPEST = 4;

/** The JSON of a value in order: texts, and what was written already. */
export function* jsonPieces(value: unknown, depth = 0): Generator<string | Uint8Array<ArrayBuffer>> {
  if (value instanceof WrittenJson) yield value.bytes;
  else if (Array.isArray(value) && depth > 1 && value.length > RUN) yield* listPieces(value);
  else if (depth >= DEEPEST || typeof value !== "object" || value === null) yield JSON.stringify(value) ?? "null";
  else if (Array.isArray(value)) yield* inBrackets("[", value.map((element) => ["", element] as const), "]", depth);
  else {
    const entries = Object.entries(value).filter(([, field]) => field !== undefined);
    yield* inBrackets("{", entries.map(([key, field]) => [`${JSON.stringify(key)}:`, field] as const), "}", depth);
  }
}

function* listPieces(list: readonly unknown[]): Generator<string> {
  for (let at = 0; at < list.length; at += RUN) {
    yield (at === 0 ? "[" : ",") + JSON.stringify(list.slice(at, at + RUN)).slice(1, -1);
  }
  yield "]";
}

function* inBrackets(open: string, parts: readonly (readonly [string, unknown])[], close: string, depth: number) {
  yield open;
  let first = true;
  for (const [key, value] of parts) {
    yield first ? key : `,${key}`;
    yield* jsonPieces(value, depth + 1);
    first = false;
  }
  yield close;
}

const ENCODER = new TextEncoder();

/** The JSON of a value, whole. */
export function jsonBytes(value: unknown): Uint8Array<ArrayBuffer> {
  return joined([...jsonPieces(value)]);
}

/** Pieces of text and bytes as one. */
export function joined(pieces: readonly (string | Uint8Array<ArrayBuffer>)[]): Uint8Array<ArrayBuffer> {
  // Texts that follow each other are encoded together.
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let text = "";
  const flush = () => {
    if (text !== "") parts.push(ENCODER.encode(text));
    text = "";
  };
  for (const piece of pieces) {
    if (typeof piece === "string") text += piece;
    else {
      flush();
      parts.push(piece);
    }
  }
  flush();
  if (parts.length === 1) return parts[0];
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Characters that are sent at a time. */
const CHUNK = 16 << 10;

/** An answer that is written while it is sent. */
export function jsonResponse(value: unknown): Response {
  const pieces = jsonPieces(value);
  const slices = new Slices();
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      await slices.breathe();
      const some: (string | Uint8Array<ArrayBuffer>)[] = [];
      for (let length = 0; length < CHUNK;) {
        const { done, value: piece } = pieces.next();
        if (done) {
          if (some.length > 0) controller.enqueue(joined(some));
          return controller.close();
        }
        some.push(piece);
        length += piece.length;
      }
      controller.enqueue(joined(some));
    },
  }, { highWaterMark: 0 });
  return new Response(body, { headers: { "content-type": "application/json" } });
}
