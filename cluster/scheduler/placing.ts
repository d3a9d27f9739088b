/**
 * Where a sequence goes: the prefill unit with the least to compute until it is through, and the decode group with the most room once what is cached counts.
 *
 * @module
 */
import type { PrefixCache } from "../../core/cache/prefix_cache.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { type DecodeGroup, MixedUnit, type PromptUnit, type Sequence } from "./state.ts";

/** Limits that decide whether there is room. */
export interface PlacingOptions {
  /** Tokens of a block where prompts are computed. */
  readonly blockTokens: number;
  /** Tokens that a block stands for where sequences are generated: a multiple, where ranks share latents by tokens. */
  readonly decodeBlockTokens: number;
  readonly maxBatch: number;
  readonly maxPrompts: number;
}

/** Whether prompts of a unit can be handed to a group. */
export type Usable = (prefill: PromptUnit, decode: DecodeGroup) => boolean;

/** Where a sequence goes; no group where it generates nothing. */
export interface Place {
  readonly prefill: PromptUnit;
  readonly decode: DecodeGroup | null;
}

/** The best place with room for a sequence; null if there is none now. */
export function choosePlace(
  sequence: Sequence,
  units: { readonly prefill: Iterable<PromptUnit>; readonly decode: Iterable<DecodeGroup> },
  usable: Usable,
  options: PlacingOptions,
): Place | null {
  const groups = sequence.mostTokens === 0 ? [null] : [...units.decode].filter((group) => group.up && fitsGroup(sequence, group, options));
  // A mixed unit decodes what it computes, and nothing else.
  const groupsFor = (unit: PromptUnit) =>
    groups.filter((group) => group === null || (unit instanceof MixedUnit ? group === unit : !(group instanceof MixedUnit)));
  let best: Place & { readonly work: number; readonly spare: number } | null = null;
  for (const prefill of units.prefill) {
    if (!prefill.up || !fitsUnit(sequence, prefill, options)) continue;
    const work = prefill.load + sequence.prompt.length - cachedBlocks(sequence, prefill, options.blockTokens) * options.blockTokens;
    for (const decode of groupsFor(prefill)) {
      if (decode !== null && decode !== prefill && !usable(prefill, decode)) continue;
      const spare = decode === null ? 0 : decode.cache.available + decode.cache.matches(sequence.decodeHashes) - decode.placements.size;
      if (best === null || work < best.work || (work === best.work && spare > best.spare)) best = { prefill, decode, work, spare };
    }
  }
  return best;
}

/** Blocks of a prompt that a prefill unit need not compute: its last token always is computed, for its logits. */
export function cachedBlocks({ wholePrompt, hashes, prompt }: Sequence, { promptCache }: PromptUnit, blockTokens: number): number {
  return wholePrompt ? 0 : Math.min(promptCache.matches(hashes), Math.floor((prompt.length - 1) / blockTokens));
}

/** Blocks that a decode group needs for the prompt, for what is generated already, and for one token more. */
export function decodeBlocksOf({ prompt, generated }: Sequence, blockTokens: number): number {
  return ceilDiv(prompt.length + generated.length + 1, blockTokens);
}

/** Takes `count` blocks of a cache, of which the first `shared` are published. @param hashes names of the sequence's blocks there */
export function takeBlocks(cache: PrefixCache, hashes: readonly string[], shared: number, count: number): number[] {
  const prefix = cache.share(hashes, shared);
  return [...prefix, ...cache.allocate(count - shared)];
}

/** Whether one more sequence may be there. */
export function hasRoom({ placements, reserved }: DecodeGroup, { maxBatch }: PlacingOptions): boolean {
  return placements.size + reserved < maxBatch;
}

/** Room for a sequence, and for one more block of everybody who runs, so that nobody is preempted at once. */
function fitsGroup(sequence: Sequence, group: DecodeGroup, options: PlacingOptions): boolean {
  const needed = decodeBlocksOf(sequence, options.decodeBlockTokens) + group.running.size;
  const hashes = sequence.decodeHashes;
  const shared = computesInPlace(group) ? cachedBlocks(sequence, group, options.blockTokens) : group.cache.matches(hashes);
  return hasRoom(group, options) && needed <= reachable(group.cache, shared, hashes);
}

function fitsUnit(sequence: Sequence, unit: PromptUnit, { blockTokens, maxPrompts }: PlacingOptions): boolean {
  if (computesInPlace(unit) && sequence.mostTokens > 0) return unit.prompts.size < maxPrompts;
  const needed = ceilDiv(sequence.prompt.length, blockTokens);
  return unit.prompts.size < maxPrompts && needed <= reachable(unit.promptCache, cachedBlocks(sequence, unit, blockTokens), sequence.hashes);
}

/** Whether prompts are computed in the blocks that they are decoded from. */
function computesInPlace(unit: PromptUnit | DecodeGroup): unit is MixedUnit {
  return unit instanceof MixedUnit && unit.promptCache === unit.cache;
}

/** Blocks that a sequence could hold: those it shares, and those that can still be allocated once it does. */
function reachable(cache: PrefixCache, shared: number, hashes: readonly string[]): number {
  return shared + cache.available - cache.unusedAmong(hashes, shared);
}
