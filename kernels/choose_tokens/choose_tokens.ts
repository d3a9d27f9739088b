/**
 * The tokens that sparse attention attends to: those that score best, exactly as many as it may attend to, and of equal scores the first ones.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel, workgroupMemory } from "../authoring/contract.ts";
import { slotOf } from "../latent_cache/layout.ts";
import { fill, sectionsOf } from "../authoring/sections.ts";
import { unroll } from "../authoring/unroll.ts";
import type { DeviceLimits } from "../device/device.ts";
import { contextOf } from "../latent_decode/splits.ts";
import source from "./choose_tokens.wgsl" with { type: "text" };
import giveAll from "./give_all.wgsl" with { type: "text" };
import giveBits from "./give_bits.wgsl" with { type: "text" };
import giveSlots from "./give_slots.wgsl" with { type: "text" };

/** Configuration of {@link chooseTokens}. */
export interface ChooseTokensConfig {
  /** Scores of a row: of so many positions. */
  readonly positions: number;
  readonly tableWords: number;
  /** Tokens that are chosen of more. */
  readonly topTokens: number;
  /** Words of a row of what is chosen: at least {@link chosenBits} of the positions, or as many as tokens are chosen. */
  readonly stride: number;
  /** `slots`: where chosen tokens are cached, by ascending position. `bits`: one for each position, set if it is chosen. */
  readonly gives: "slots" | "bits";
  /** How a row's workgroup works, see {@link choosingOn}. */
  readonly workgroup: ChoosingWorkgroup;
  /** Rows are left alone that have fewer tokens to choose among than the first, or as many as the second; default: none is. */
  readonly contexts?: readonly [least: number, end: number];
}

/** The workgroup that has a row. */
export interface ChoosingWorkgroup {
  readonly threads: 64 | 256 | 1024;
  /** Places in which a digit is counted. */
  readonly copies: 1 | 2 | 4;
}

/** The largest workgroup that a device allows: one has a whole row, and what it waits for is scores on their way. */
export function choosingOn(
  { maxWorkgroupThreads, maxWorkgroupBytes }: Pick<DeviceLimits, "maxWorkgroupThreads" | "maxWorkgroupBytes">,
): ChoosingWorkgroup {
  const threads = maxWorkgroupThreads >= 1024 ? 1024 : 256;
  const fits = (copies: number) => workgroupMemory([copies * DIGITS * 4, threads * 8, 8]) <= maxWorkgroupBytes;
  return { threads, copies: fits(4) ? 4 : fits(2) ? 2 : 1 };
}

/** Words of bits that say which of so many positions are chosen. */
export function chosenBits(positions: number): number {
  return ceilDiv(positions, 32);
}

const ALL_CONTEXTS = [0, 0xffffffff] as const;
/** Digits of 11 bits. */
const DIGITS = 2048;
/** Scores that a thread reads together. */
const AT_ONCE = 8;

/**
 * scores: [rows, positions], of the rows of a step that begin with `first_row`; `step`: [rows of the step, 4] words → chosen: [rows of the step, stride]. A row with no
 * more tokens than may be chosen gets all of them, whatever their scores. Beyond a row's own position, bits of its last word are 0 and other words are left as they are.
 */
export const chooseTokens: Kernel<ChooseTokensConfig, "scores" | "tables" | "step" | "chosen", "rows" | "first_row"> = {
  name: "choose_tokens",
  bindings: { scores: "read", tables: "read", step: "read", chosen: "read_write" },
  params: ["rows", "first_row"],
  wgsl: ({ gives, ...config }) => choosingWgsl(config, { SHARES: 1 }, giveAll, gives === "slots" ? giveSlots : giveBits),
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: ({ positions, tableWords, stride }, { rows, first_row }) => ({
    scores: rows * positions * 4,
    tables: tableWords * 4,
    step: (first_row + rows) * 16,
    chosen: (first_row + rows) * stride * 4,
  }),
  reference({ positions, topTokens, stride, gives, contexts = ALL_CONTEXTS }, { scores, tables, step, chosen }, { rows, first_row }) {
    for (let i = 0; i < rows; i++) {
      const row = first_row + i;
      const context = contextOf(step.u32, row);
      if (context < contexts[0] || context >= contexts[1]) continue;
      const own = scores.f32.subarray(i * positions, i * positions + context);
      const at = topPositions(own, topTokens);
      if (gives === "slots") {
        at.forEach((position, place) => chosen.u32[row * stride + place] = slotOf(tables, step.u32[row * 4 + 3], position));
        continue;
      }
      const words = chosen.u32.subarray(row * stride, row * stride + chosenBits(own.length));
      words.fill(0);
      for (const position of at) words[position >>> 5] |= 1 << (position & 31);
    }
  },
};

/** The shader. @param shares constants that say what is kept here @param parts sections that say what is given */
export function choosingWgsl(
  { positions, topTokens, stride, workgroup: { threads, copies }, contexts: [least, end] = ALL_CONTEXTS }: Omit<ChooseTokensConfig, "gives">,
  shares: Readonly<Record<string, number>>,
  ...parts: readonly string[]
): string {
  const numbers = {
    POSITIONS: positions,
    TOP_TOKENS: topTokens,
    LEAST_CONTEXT: least,
    END_CONTEXT: end,
    STRIDE: stride,
    THREADS: threads,
    COPIES: copies,
    AT_ONCE,
    BLOCK_TOKENS,
    ...shares,
  };
  return constants(numbers) + unroll(fill(source, Object.assign({}, ...parts.map(sectionsOf))), numbers);
}

/** Positions of the best scores, ascending; of equals, the first ones. */
export function topPositions(scores: Float32Array, most: number): Uint32Array {
  if (scores.length <= most) return Uint32Array.from(scores, (_, position) => position);
  const keys = new Uint32Array(scores.length);
  const bits = new Uint32Array(scores.buffer, scores.byteOffset, scores.length);
  for (let i = 0; i < keys.length; i++) keys[i] = keyOf(bits[i]);
  const last = keys.slice().sort()[keys.length - most];
  let equal = most;
  for (const key of keys) if (key > last) equal--;
  const chosen = new Uint32Array(most);
  for (let position = 0, count = 0; count < most; position++) {
    if (keys[position] > last || (keys[position] === last && equal-- > 0)) chosen[count++] = position;
  }
  return chosen;
}

/** A score's bits as an integer that is ordered as scores are: zeros of either sign are equal, and what is no number comes first or last, by its sign. */
function keyOf(bits: number): number {
  if (bits << 1 === 0) return 0x80000000;
  return (bits >>> 31 === 1 ? ~bits : bits | 0x80000000) >>> 0;
}
