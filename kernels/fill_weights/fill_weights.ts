/**
 * Random weights, made on the device in the bits of a storage format: those of `core/model/synthetic`, or others like them.
 *
 * @module
 */
import { bitsPerWeight, type WeightFormat } from "../../core/model/packing.ts";
import { fourBitLevel, LEVEL_SIZE, levelAt } from "../../core/model/synthetic/weights.ts";
import { ceilDiv, floatBits, halfBits } from "../../core/numeric.ts";
import { constants, type Kernel, MOST_GROUPS } from "../authoring/contract.ts";
import random from "../authoring/random.wgsl" with { type: "text" };
import source from "./fill_weights.wgsl" with { type: "text" };

/** Words that one thread writes. */
const WORDS_EACH = 64;
const THREADS = 256;

/**
 * `first_word` … `end_word`: where rows are written, `row_words` long, of which the first `columns` weights are there; `first_row`, `first_column`: where the first
 * of them is in the tensor; `key`: the tensor's.
 */
export type FillParams = "first_word" | "end_word" | "row_words" | "columns" | "first_row" | "first_column" | "key";

const FOUR_BIT_LEVELS = several("u32(min((level_at(row, column + i) + 136) >> 4u, 15))", 8);

const EIGHT_BIT_LEVELS = several("u32(level_at(row, column + i)) & 0xffu", 4);

/** One word of the weights from a column on, of each format. */
const WORD_OF: Readonly<Record<WeightFormat, string>> = {
  f32: "return bitcast<u32>(f32(level_at(row, column)) * LEVEL_SIZE);",
  f16: "return pack2x16float(vec2(f32(level_at(row, column)), f32(level_at(row, column + 1u))) * LEVEL_SIZE);",
  bf16: `let bits = bitcast<vec2<u32>>(vec2(f32(level_at(row, column)), f32(level_at(row, column + 1u))) * LEVEL_SIZE);
  return (bits.x >> 16u) | (bits.y & 0xffff0000u);`,
  // Sign and mantissa are random, the exponent is that of 1 / 64.
  fp8: several("(u32(level_at(row, column + i)) & 0x87u) | 0x08u", 4),
  q8: EIGHT_BIT_LEVELS,
  q4: FOUR_BIT_LEVELS,
  int4: FOUR_BIT_LEVELS,
  int8: EIGHT_BIT_LEVELS,
};

function several(one: string, count: number): string {
  return `var word = 0u;
  for (var i = 0u; i < ${count}u; i++) {
    word |= (${one}) << (i * ${32 / count}u);
  }
  return word;`;
}

/** Fills rows of a matrix, or of anything else that weights are bound as. */
export const fillWeights: Kernel<{ readonly format: WeightFormat }, "words", FillParams> = {
  name: "fill_weights",
  bindings: { words: "read_write" },
  params: ["first_word", "end_word", "row_words", "columns", "first_row", "first_column", "key"],
  wgsl: ({ format }) =>
    constants({ WORDS_EACH, THREADS, MOST_GROUPS, IN_WORD: inWord(format) }, { LEVEL_SIZE }) + random + source +
    `fn word_of(row: u32, column: u32) -> u32 {\n  ${WORD_OF[format]}\n}\n`,
  workgroups: (_, { first_word, end_word }) => {
    const groups = ceilDiv(end_word - first_word, THREADS * WORDS_EACH);
    return [Math.min(groups, MOST_GROUPS), ceilDiv(groups, MOST_GROUPS), 1];
  },
  sizes: (_, { end_word }) => ({ words: end_word * 4 }),
  reference({ format }, { words: { u32 } }, { first_word, end_word, row_words, columns, first_row, first_column, key }) {
    const level = (row: number, column: number) => column < columns ? levelAt(key, first_row + row, first_column + column) : 0;
    const many = inWord(format);
    for (let at = first_word; at < end_word; at++) {
      const row = Math.floor((at - first_word) / row_words);
      const column = ((at - first_word) % row_words) * many;
      let word = 0;
      for (let i = 0; i < many; i++) word |= bitsOf(format, level(row, column + i)) << (i * (32 / many));
      u32[at] = word;
    }
  },
};

/** Weights in a word. */
function inWord(format: WeightFormat): number {
  return 32 / bitsPerWeight(format);
}

function bitsOf(format: WeightFormat, level: number): number {
  switch (format) {
    case "f32":
      return floatBits(level * LEVEL_SIZE);
    case "f16":
      return halfBits(level * LEVEL_SIZE);
    case "bf16":
      return floatBits(level * LEVEL_SIZE) >>> 16;
    case "fp8":
      return (level & 0x87) | 0x08;
    case "q8":
    case "int8":
      return level & 0xff;
    case "q4":
    case "int4":
      return fourBitLevel(level);
    default:
      return format satisfies never;
  }
}
