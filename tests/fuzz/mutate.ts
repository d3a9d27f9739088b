/**
 * Good inputs made bad.
 *
 * @module
 */
import type { Random } from "../../bench/support/random.ts";

/** One of them. */
export function pick<T>(random: Random, list: readonly T[]): T {
  return list[random.below(list.length)];
}

/** Numbers at which code goes wrong. */
const NUMBERS = [
  0,
  -0,
  1,
  -1,
  2,
  3,
  7,
  8,
  63,
  64,
  65,
  127,
  128,
  255,
  256,
  1e3,
  4096,
  65535,
  65536,
  1e6,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1e18,
  1e308,
  0.5,
  1e-45,
  -1e9,
];
const STRINGS = [
  "",
  " ",
  "\0",
  "a",
  "<|user|>",
  "constructor",
  "__proto__",
  "toString",
  "\ud800",
  "é🙂",
  "[[",
  "{{",
  "null",
  "../x",
  "x".repeat(5000),
  "(a+)+$",
  "\\",
  '"',
];

/** Any JSON value, not deep. */
export function anyValue(random: Random, depth = 2): unknown {
  switch (random.below(depth > 0 ? 8 : 6)) {
    case 0:
      return pick(random, NUMBERS);
    case 1:
      return pick(random, STRINGS);
    case 2:
      return null;
    case 3:
      return random.below(2) === 0;
    case 4:
      return random.below(1000);
    case 5:
      return pick(random, NUMBERS) * random.next();
    case 6:
      return Array.from({ length: pick(random, [0, 1, 2, 3, 20, 300]) }, () => anyValue(random, depth - 1));
    default:
      return Object.fromEntries(Array.from({ length: random.below(4) }, () => [pick(random, STRINGS), anyValue(random, depth - 1)]));
  }
}

/** A copy of a JSON value with some places changed: fields gone, doubled, of other types, or absurd. */
export function mutateJson(random: Random, value: unknown): unknown {
  const copy = structuredClone(value);
  const root = { value: copy };
  for (let change = 0; change <= random.below(3); change++) {
    const [parent, key] = placeIn(random, root);
    switch (random.below(5)) {
      case 0:
        if (Array.isArray(parent)) parent.splice(Number(key), 1);
        else delete parent[key];
        break;
      case 1:
        if (Array.isArray(parent)) parent.splice(Number(key), 0, parent[Number(key)]);
        else define(parent, pick(random, STRINGS), parent[key]);
        break;
      default:
        define(parent, key, anyValue(random));
    }
  }
  return root.value;
}

type Parent = Record<string, unknown> & unknown[];

/** Some place in a value: what holds it, and under which key. */
function placeIn(random: Random, root: object): [parent: Parent, key: string] {
  let [parent, key] = [root as Parent, Object.keys(root)[0] ?? "value"];
  while (true) {
    const inside = parent[key as keyof Parent] as Parent;
    if (typeof inside !== "object" || inside === null || random.below(5) === 0) return [parent, key];
    const keys = Object.keys(inside);
    if (keys.length === 0) return [parent, key];
    [parent, key] = [inside, pick(random, keys)];
  }
}

/** As `JSON.parse` would: `__proto__` is a field like any other. */
function define(parent: Parent, key: string, value: unknown): void {
  Object.defineProperty(parent, key, { value, enumerable: true, configurable: true, writable: true });
}

/** A copy of bytes with some changed, cut out, doubled or put in. */
export function mutateBytes(random: Random, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  let list = Array.from(bytes);
  for (let change = 0; change <= random.below(4); change++) {
    const at = random.below(list.length + 1);
    const count = pick(random, [1, 1, 2, 4, 8, 40]);
    switch (random.below(6)) {
      case 0:
        list.splice(at, count);
        break;
      case 1:
        list.splice(at, 0, ...random.bytes(count));
        break;
      case 2:
        list.splice(at, 0, ...list.slice(at, at + count));
        break;
      case 3:
        list = list.slice(0, at);
        break;
      case 4:
        list.splice(at, count, ...new Array(count).fill(pick(random, [0, 0x7f, 0x80, 0xff])));
        break;
      default:
        if (at < list.length) list[at] = random.below(256);
    }
  }
  return Uint8Array.from(list);
}

/** A text with some of it changed; words of the language are put in more often than noise. */
export function mutateText(random: Random, text: string, words: readonly string[]): string {
  let result = text;
  for (let change = 0; change <= random.below(4); change++) {
    const at = random.below(result.length + 1);
    const count = random.below(12);
    const insert = random.below(3) === 0 ? pick(random, STRINGS) : pick(random, words);
    switch (random.below(4)) {
      case 0:
        result = result.slice(0, at) + result.slice(at + count);
        break;
      case 1:
        result = result.slice(0, at) + result.slice(at, at + count) + result.slice(at);
        break;
      default:
        result = result.slice(0, at) + insert + result.slice(at + (random.below(2) === 0 ? count : 0));
    }
  }
  return result;
}
