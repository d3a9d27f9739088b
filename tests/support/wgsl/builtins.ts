/**
 * JavaScript of WGSL's functions, of those that compute something from what they are given.
 *
 * @module
 */
import { type Code, map, rounded, unify } from "./code.ts";
import { elementOf, NONE, scalar, type Type } from "./types.ts";

/** A call. @param to what `bitcast` makes of it @throws {SyntaxError} if there is no such function */
export function builtinCall(name: string, a: readonly Code[], to: () => Type): Code {
  switch (name) {
    case "u32":
      return a[0].type.kind === "scalar" && a[0].type.of === "bool"
        ? { code: `(${a[0].code} ? 1 : 0)`, type: scalar("u32") }
        : { code: `(Math.trunc(${a[0].code}) >>> 0)`, type: scalar("u32") };
    case "f32":
    case "f16":
      return { code: rounded(name, a[0].code), type: scalar(name) };
    case "min":
    case "max": {
      const [x, y] = unify(a[0], a[1]);
      return map([x, y], x.type, (p, q) => `Math.${name}(${p}, ${q})`);
    }
    case "clamp": {
      const [x, low] = unify(a[0], a[1]);
      const [, high] = unify(x, a[2]);
      return map([x, low, high], x.type, (p, q, r) => `Math.min(Math.max(${p}, ${q}), ${r})`);
    }
    case "abs":
      return map(a, a[0].type, (p) => `Math.abs(${p})`);
    case "exp2":
      return map(a, a[0].type, (p) => `Math.fround(2 ** ${p})`);
    case "exp":
      return map(a, a[0].type, (p) => `Math.fround(Math.exp(${p}))`);
    case "fma": {
      const [x, y] = unify(a[0], a[1]);
      const [, z] = unify(x, a[2]);
      return map([x, y, z], x.type, (p, q, r) => rounded(elementOf(x.type), `${p} * ${q} + ${r}`));
    }
    case "select": {
      const [no, yes] = unify(a[0], a[1]);
      return map([no, yes, a[2]], no.type, (p, q, r) => `(${r} ? ${q} : ${p})`);
    }
    case "countOneBits":
      return map(a, a[0].type, (p) => `$bits(${p})`);
    case "pack2x16float":
      return { code: `$pack(${a[0].code})`, type: scalar("u32") };
    case "unpack2x16float":
      return { code: `$unpack(${a[0].code})`, type: { kind: "vector", of: "f32", size: 2 } };
    case "bitcast": {
      const from = elementOf(a[0].type);
      const type = to();
      const of = elementOf(type);
      // Two of them lie in a word.
      if (of === "f16") return { code: `$unpack(${a[0].code})`, type };
      if (from === "f16") return { code: `$pack(${a[0].code})`, type };
      if (from === of || (from !== "f32" && of !== "f32")) return { code: a[0].code, type };
      return map(a, type, (p) => of === "f32" ? `$asFloat(${p})` : `$asBits(${p})`);
    }
    case "workgroupBarrier":
      return { code: `(yield { kind: "barrier" })`, type: NONE };
    case "subgroupShuffleXor":
      return { code: `(yield { kind: "shuffle", value: ${a[0].code}, distance: ${a[1].code} })`, type: a[0].type };
  }
  throw new SyntaxError(`There is no function ${name}`);
}
