/**
 * Any text up to a marker.
 *
 * @module
 */
import { byteSet } from "../automaton/byte_sets.ts";
import { type Expr, type Expressions, NOTHING } from "../automaton/expressions.ts";

/**
 * Any text that does not hold a marker, then the marker, then something else.
 *
 * @param mayEnd whether the text may also end without a marker
 */
export function textUntil(expressions: Expressions, marker: string, then: Expr, options: { readonly mayEnd: boolean }): Expr {
  const x = expressions;
  const bytes = new TextEncoder().encode(marker);
  const states: Expr[] = [];
  /** After text that ends in the first `matched` bytes of the marker, and no more of them. */
  const after = (matched: number): Expr => {
    if (matched === bytes.length) return then;
    return states[matched] ??= x.rule(options.mayEnd, () => {
      const byNext = new Map<number, [number, number][]>();
      for (let byte = 0; byte < 256; byte++) {
        const next = matchedAfter(bytes, matched, byte);
        byNext.set(next, [...byNext.get(next) ?? [], [byte, byte]]);
      }
      const written = x.union(Array.from(byNext, ([next, ranges]) => x.sequence([x.bytes(byteSet(...ranges)), after(next)])));
      return options.mayEnd ? x.optional(written) : written;
    });
  };
  return bytes.length === 0 ? NOTHING : after(0);
}

/** How much of a marker a text ends in, that ended in `matched` bytes of it, after one more byte. */
function matchedAfter(marker: Uint8Array, matched: number, byte: number): number {
  const text = [...marker.subarray(0, matched), byte];
  for (let length = text.length; length > 0; length--) {
    if (text.slice(-length).every((byte, i) => byte === marker[i])) return length;
  }
  return 0;
}
