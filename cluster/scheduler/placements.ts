/**
 * Places of sequences on units: taken, shared, left and given back. Blocks are held by exactly those that should hold them; what is in flight keeps its own.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import type { FairQueue } from "./fair_queue.ts";
import { Forks } from "./forks.ts";
import { cachedBlocks, choosePlace, decodeBlocksOf, hasRoom, takeBlocks, type Usable } from "./placing.ts";
import type { PlannedStep, SchedulerCounters, SchedulerOptions } from "./plan.ts";
import { type DecodeGroup, MixedUnit, Placement, type PrefillChunk, type PromptUnit, type Sequence } from "./state.ts";

/** Most tokens of a chunk, by the positions of its prompt that come before it. */
export type ChunkTokens = (start: number) => number;

/** What places are taken on. Mixed units are among both. */
export interface PlacedOn {
  readonly prefillUnits: ReadonlyMap<string, PromptUnit>;
  readonly decodeGroups: ReadonlyMap<string, DecodeGroup>;
}

/** All placements of a scheduler. */
export class Placements {
  /** Sequences that are forked off others when those are next stepped. */
  readonly forks: Forks = new Forks((placement) => this.settle(placement));
  readonly #units: PlacedOn;
  readonly #waiting: FairQueue;
  readonly #counters: SchedulerCounters;
  readonly #options: SchedulerOptions;
  #nextId = 1;

  /** @param waiting where sequences are taken from, and go back to */
  constructor(units: PlacedOn, waiting: FairQueue, counters: SchedulerCounters, options: SchedulerOptions) {
    this.#units = units;
    this.#waiting = waiting;
    this.#counters = counters;
    this.#options = options;
  }

  /** Places a sequence; null if there is no room. */
  place(sequence: Sequence, now: number, usable: Usable): Placement | null {
    const units = { prefill: this.#units.prefillUnits.values(), decode: this.#units.decodeGroups.values() };
    const place = choosePlace(sequence, units, usable, this.#options);
    if (place === null) return null;
    const { prefill, decode } = place;
    const { hashes, decodeHashes, prompt } = sequence;
    const { blockTokens, decodeBlockTokens } = this.#options;
    const cached = cachedBlocks(sequence, prefill, blockTokens);
    const inPlace = prefill.promptCache === decode?.cache;
    const from = decode === null ? 0 : inPlace ? cached : decode.cache.matches(decodeHashes);
    const placement = new Placement({
      id: this.#nextId++,
      sequence,
      prefill,
      decode,
      admitted: now,
      prefillBlocks: inPlace ? [] : takeBlocks(prefill.promptCache, hashes, cached, ceilDiv(prompt.length, blockTokens)),
      decodeBlocks: decode === null ? [] : takeBlocks(decode.cache, decodeHashes, from, decodeBlocksOf(sequence, decodeBlockTokens)),
      cached: cached * blockTokens,
      from: from * decodeBlockTokens,
    });
    this.#waiting.remove(sequence);
    sequence.placement = placement;
    sequence.cachedTokens = placement.prefilled;
    prefill.prompts.add(placement);
    decode?.placements.add(placement);
    this.#counters.promptTokens += prompt.length;
    this.#counters.cachedTokens += placement.prefilled;
    if (decode !== null) this.#share(placement, decode);
    return placement;
  }

  /** Others that wait with the same prompt will be forked off when it is computed. */
  #share(placement: Placement, decode: DecodeGroup): void {
    const { sequence } = placement;
    for (const other of [...this.#waiting.of(sequence.client)]) {
      if (!hasRoom(decode, this.#options)) return;
      if (!sequence.mayShareWith(other)) continue;
      this.#waiting.remove(other);
      other.leader = placement;
      other.cachedTokens = sequence.prompt.length;
      placement.sharing.push(other);
      decode.reserved++;
      this.#counters.promptTokens += sequence.prompt.length;
      this.#counters.cachedTokens += sequence.prompt.length;
    }
  }

  /** The next chunk of a prompt, which is begun. */
  chunk(placement: Placement, most: ChunkTokens): PrefillChunk {
    const begin = !placement.begun;
    if (begin) this.#matchAgain(placement);
    placement.begun = true;
    this.chunkBegins(placement);
    const start = placement.prefilled;
    const count = Math.min(most(start), placement.remaining);
    const last = count === placement.remaining;
    const all = [placement.sequence, ...placement.sharing];
    const asking = last && placement.decode !== null ? all.filter(({ generated }) => generated.length === 0) : [];
    return { placement, begin, start, count, last, asking };
  }

  /** A chunk of it is computed from now on. */
  chunkBegins(placement: Placement): void {
    const { prefill } = placement;
    placement.uses++;
    if (!(prefill instanceof MixedUnit)) return;
    prefill.stepping = true;
    prefill.prefilled = true;
  }

  /** While it waited, another prompt may have computed what this one begins with. */
  #matchAgain(placement: Placement): void {
    const { sequence, prefill } = placement;
    const before = placement.prefilled / this.#options.blockTokens;
    const now = cachedBlocks(sequence, prefill, this.#options.blockTokens);
    if (now <= before) return;
    const shared = prefill.promptCache.share(sequence.hashes, now);
    prefill.promptCache.release(placement.promptBlocks.slice(0, now));
    placement.promptBlocks.splice(0, now, ...shared);
    placement.prefilled = now * this.#options.blockTokens;
    sequence.cachedTokens = placement.prefilled;
    this.#counters.cachedTokens += (now - before) * this.#options.blockTokens;
  }

  /** A computed prompt joins the batch, and those that share it. */
  join(placement: Placement, group: DecodeGroup): void {
    const { sequence } = placement;
    const { decodeBlockTokens } = this.#options;
    placement.length = sequence.prompt.length;
    sequence.decodeHashes.forEach((hash, i) => group.cache.publish(hash, placement.decodeBlocks[i]));
    group.running.add(placement);
    const shared = Math.floor(sequence.prompt.length / decodeBlockTokens);
    for (const other of placement.sharing.splice(0)) {
      group.reserved--;
      const own = decodeBlocksOf(other, decodeBlockTokens) - shared;
      if (group.cache.canAllocate(own)) {
        this.#fork(other, placement, shared, group, [...placement.decodeBlocks.slice(0, shared), ...group.cache.allocate(own)]);
      } else this.requeue(other);
    }
  }

  /** @param decodeBlocks `shared` whole blocks of the prompt, then its own */
  #fork(sequence: Sequence, from: Placement, shared: number, group: DecodeGroup, decodeBlocks: number[]): void {
    const { prompt } = sequence;
    for (const block of decodeBlocks.slice(0, shared)) group.cache.retain(block);
    const placement = new Placement({
      id: this.#nextId++,
      sequence,
      prefill: from.prefill,
      decode: group,
      admitted: from.admitted,
      prefillBlocks: [],
      decodeBlocks,
      cached: prompt.length,
      from: prompt.length,
    });
    placement.opened = true;
    placement.length = prompt.length;
    sequence.leader = null;
    sequence.placement = placement;
    group.placements.add(placement);
    group.running.add(placement);
    this.forks.add(group, { placement, from, tokens: prompt.length, shared, blocks: [...decodeBlocks] });
  }

  /** A step has ended, one way or the other: what it used is free to go. */
  stepEnded({ group, forks, advanced }: PlannedStep): void {
    group.stepping = false;
    const used = [...advanced.keys(), ...forks.map(({ from }) => from)];
    for (const placement of used) placement.uses--;
    for (const placement of used) this.settle(placement);
  }

  /** A mixed unit is free for something else. */
  chunkEnded({ prefill }: Placement): void {
    if (prefill instanceof MixedUnit) prefill.stepping = false;
  }

  /** A placement's sequences wait again. @returns them */
  displace(placement: Placement): Sequence[] {
    const { sequence, decode } = placement;
    const others = placement.sharing.splice(0);
    if (decode !== null) decode.reserved -= others.length;
    const displaced = [...(sequence.placement === placement ? [sequence] : []), ...others].filter(({ ended }) => !ended);
    for (const one of displaced) this.requeue(one);
    this.settle(placement);
    return displaced;
  }

  /** A sequence waits for another place. */
  requeue(sequence: Sequence): void {
    sequence.placement = null;
    sequence.leader = null;
    if (!sequence.ended) this.#waiting.push(sequence);
  }

  /** A sequence will not be forked off the one that computes its prompt. */
  leaveLeader(sequence: Sequence, leader: Placement): void {
    const at = leader.sharing.indexOf(sequence);
    if (at < 0) return;
    leader.sharing.splice(at, 1);
    leader.decode!.reserved--;
    sequence.leader = null;
  }

  /** Gives a placement's blocks back once its sequence has gone and nothing in flight needs them. */
  settle(placement: Placement): void {
    if (placement.uses > 0 || placement.released || placement.alive) return;
    if (placement.sequence.placement !== placement || !this.#passOn(placement)) this.release(placement);
  }

  /** Another sequence with the same prompt takes a placement over whose own has ended before it was computed. */
  #passOn(placement: Placement): boolean {
    if (placement.length > 0) return false;
    const heir = placement.sharing.shift();
    if (heir === undefined) return false;
    placement.decode!.reserved--;
    placement.sequence.placement = null;
    placement.sequence = heir;
    heir.leader = null;
    heir.placement = placement;
    return true;
  }

  /** Gives a placement's blocks back, and has its units' ranks told. */
  release(placement: Placement): void {
    if (placement.released) return;
    placement.released = true;
    const { decode, id } = placement;
    if (placement.prefill.prompts.has(placement)) this.leavePrefill(placement, placement.begun && !placement.mixed);
    if (decode === null) return;
    decode.running.delete(placement);
    decode.placements.delete(placement);
    decode.cache.release(placement.decodeBlocks);
    if (decode.up) decode.closing.push(id);
    this.forks.forget(decode, placement);
  }

  /** @param told whether the unit's ranks must be told */
  leavePrefill(placement: Placement, told: boolean): void {
    const { prefill } = placement;
    prefill.prompts.delete(placement);
    prefill.promptCache.release(placement.prefillBlocks);
    placement.prefillBlocks = [];
    if (told && prefill.up) prefill.closing.push(placement.id);
  }
}
