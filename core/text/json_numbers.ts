/**
 * JSON whose numbers keep how they were written, where that says more than their value: Python prints `1.0` and integers of any length as they came.
 *
 * @module
 */

/** Numbers that JavaScript would write in another way than Python. */
const TELLING = /\d[.eE]|\d{16}/;
const NUMBERS = new WeakMap<object, Map<string, string>>();

/** Parses JSON; {@link numberText} tells of its numbers. @throws {SyntaxError} */
export function parseWithNumbers(text: string): unknown {
  if (!TELLING.test(text)) return JSON.parse(text);
  // TypeScript does not know of the third argument yet.
  const remember = function (this: object, key: string, value: unknown, context?: { source?: string }): unknown {
    const source = context?.source;
    if (typeof value === "number" && source !== undefined && source !== String(value)) {
      let own = NUMBERS.get(this);
      if (own === undefined) NUMBERS.set(this, own = new Map());
      own.set(key, source);
    }
    return value;
  };
  return JSON.parse(text, remember as Parameters<typeof JSON.parse>[1]);
}

/** How a number of a parsed object or array was written; undefined: as JavaScript would. */
export function numberText(holder: object, key: string | number): string | undefined {
  return NUMBERS.get(holder)?.get(String(key));
}

/** Writes JSON with numbers as they were written in what {@link parseWithNumbers} gave. */
export function writeWithNumbers(value: unknown): string {
  return JSON.stringify(value, function (this: object, key: string, field: unknown): unknown {
    const source = typeof field === "number" ? numberText(this, key) : undefined;
    // TypeScript does not know of raw JSON yet.
    return source === undefined ? field : (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(source);
  });
}
