/**
 * The weights of synthetic models: a number for every element of every tensor, from its name and place alone. Whoever computes one, on the host or on a device,
 * of a whole tensor or of a rank's part, gets the same bits.
 *
 * Weights are whole multiples, −127 … 127, of {@link LEVEL_SIZE}: every format but those of four bits holds them exactly, and they are about as large as trained ones.
 *
 * @module
 */
import { randomBits, sequenceKey } from "../../random.ts";
import { floatBits } from "../../numeric.ts";

/** 2⁻¹³: the largest weight is 1/64. */
export const LEVEL_SIZE: number = 2 ** -13;

/** What a tensor's weights are drawn with. */
export function tensorKey(seed: number, name: string): number {
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 16777619);
  return sequenceKey(seed, hash >>> 0);
}

/** One weight, −127 … 127. */
export function levelAt(key: number, row: number, column: number): number {
  return Math.max(1, randomBits(key, row, column) >>> 24) - 128;
}

/** The level of four bits, 0 … 15 for −8 … 7, nearest to a weight; its scale is 16 times {@link LEVEL_SIZE}. */
export function fourBitLevel(level: number): number {
  return Math.min(15, (level + 128 + 8) >> 4);
}

/** bfloat16 of every level, from −128 on. */
const BF16_OF_LEVEL = Uint16Array.from({ length: 256 }, (_, i) => floatBits((i - 128) * LEVEL_SIZE) >>> 16);
const BF16_ONE = floatBits(1) >>> 16;

/** Elements `begin … end` of a tensor in bfloat16. Norms are ones and biases zeros, as in a model that has not learnt any. */
export function syntheticElements(
  seed: number,
  name: string,
  shape: readonly number[],
  { begin, end }: { readonly begin: number; readonly end: number },
): Uint16Array<ArrayBuffer> {
  const elements = new Uint16Array(end - begin);
  if (shape.length === 1) return name.endsWith("bias") ? elements : elements.fill(BF16_ONE);
  const key = tensorKey(seed, name);
  const columns = shape.at(-1)!;
  let row = Math.floor(begin / columns);
  let column = begin - row * columns;
  for (let i = 0; i < elements.length; i++) {
    elements[i] = BF16_OF_LEVEL[levelAt(key, row, column) + 128];
    if (++column < columns) continue;
    column = 0;
    row++;
  }
  return elements;
}

/** bfloat16 of the scale of levels of four bits. */
export const BF16_INT4_SCALE: number = floatBits(16 * LEVEL_SIZE) >>> 16;

/** Words `begin … end` of a tensor in four bits, eight columns each. */
export function syntheticWords(
  seed: number,
  name: string,
  columns: number,
  { begin, end }: { readonly begin: number; readonly end: number },
): Int32Array<ArrayBuffer> {
  const key = tensorKey(seed, name);
  const perRow = Math.ceil(columns / 8);
  return Int32Array.from({ length: end - begin }, (_, i) => {
    const row = Math.floor((begin + i) / perRow);
    const first = (begin + i) % perRow * 8;
    let word = 0;
    for (let k = 0; k < 8 && first + k < columns; k++) word |= fourBitLevel(levelAt(key, row, first + k)) << (4 * k);
    return word;
  });
}
