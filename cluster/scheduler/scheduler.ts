/**
 * Decides who is placed where, which chunk of which prompt is next, and which rows make up a step. It does no I/O and reads no clock; whoever drives it says
 * what has happened and asks what to do.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { ActiveClients } from "./active_clients.ts";
import { DraftAccounts } from "./draft_accounts.ts";
import { FairQueue } from "./fair_queue.ts";
import type { Usable } from "./placing.ts";
import { type ChunkTokens, Placements } from "./placements.ts";
import type { ChunkOutcome, PlannedStep, SchedulerCounters, SchedulerOptions } from "./plan.ts";
import { DecodeGroup, MixedUnit, Placement, type PrefillChunk, PrefillUnit, type PromptUnit, Sequence, type SequenceOptions } from "./state.ts";
import { planRows } from "./step_planner.ts";

/** Tokens of computing that a prompt gains on shorter ones per millisecond of waiting. */
const AGING = 0.5;

/** Places sequences and plans work. */
export class Scheduler {
  readonly options: SchedulerOptions;
  readonly counters: SchedulerCounters = { promptTokens: 0, cachedTokens: 0, preemptions: 0, replays: 0, drafted: [], accepted: [] };
  readonly waiting = new FairQueue();
  /** What becomes of drafts. */
  readonly drafts: DraftAccounts = new DraftAccounts(this.counters, {
    charge: (client, tokens) => this.#charge(client, tokens),
    settle: (placement) => this.#placements.settle(placement),
  });
  /** Mixed units are here and among {@link decodeGroups}. */
  readonly prefillUnits = new Map<string, PromptUnit>();
  readonly decodeGroups = new Map<string, DecodeGroup>();
  /** Sequences of each client that have not ended. */
  readonly #active = new ActiveClients();
  readonly #placements: Placements;
  #order = 0;

  constructor(options: SchedulerOptions) {
    this.options = options;
    this.#placements = new Placements(this, this.waiting, this.counters, options);
  }

  /** Sequences that have not ended. */
  get active(): number {
    return this.#active.sequences;
  }

  /**
   * Takes a sequence in.
   *
   * @param retryAfterMs what one that is turned away is told about when to come again
   * @throws {LatentmeshError} `overloaded` if too many wait
   */
  add(options: Omit<SequenceOptions, "blockTokens" | "decodeBlockTokens">, retryAfterMs?: number): Sequence {
    const { maxWaiting, maxWaitingPerClient, blockTokens, decodeBlockTokens } = this.options;
    if (this.waiting.size >= maxWaiting) {
      throw new LatentmeshError(
        "overloaded",
        `${this.waiting.size} requests are waiting already, as many as may (server.maxWaiting); try again later`,
        { retryAfterMs },
      );
    }
    const own = this.waiting.of(options.client).length;
    if (own >= maxWaitingPerClient) {
      throw new LatentmeshError(
        "overloaded",
        `${own} requests of this key are waiting already, as many as may (server.maxWaitingPerKey); try again later`,
        { retryAfterMs },
      );
    }
    const sequence = new Sequence({ ...options, blockTokens, decodeBlockTokens }, this.#order++);
    this.#active.add(sequence.client);
    this.waiting.push(sequence);
    return sequence;
  }

  /** A prefill unit can be used. @param blocks of its cache; a number makes an empty one, null keeps what was there */
  prefillUp(name: string, blocks: number | null): PromptUnit {
    return revive(this.prefillUnits, name, blocks, () => new PrefillUnit(name, blocks ?? 0));
  }

  /** A decode group can be used. @param blocks of its cache; a number makes an empty one, null keeps what was there */
  decodeUp(name: string, blocks: number | null): DecodeGroup {
    return revive(this.decodeGroups, name, blocks, () => new DecodeGroup(name, blocks ?? 0));
  }

  /**
   * A mixed unit can be used.
   *
   * @param blocks of its cache; a number makes an empty one, null keeps what was there
   * @param promptBlocks of a cache for prompts alone, which then is empty, too; null: it has none
   */
  mixedUp(name: string, blocks: number | null, promptBlocks: number | null = null): MixedUnit {
    const unit = revive(this.decodeGroups, name, blocks, () => new MixedUnit(name, blocks ?? 0, promptBlocks)) as MixedUnit;
    this.prefillUnits.set(name, unit);
    return unit;
  }

  /** A unit is lost: its sequences wait for another place. What is in flight there will be reported as failed. */
  down(name: string): Sequence[] {
    const unit = this.prefillUnits.get(name) ?? this.decodeGroups.get(name);
    if (unit === undefined || !unit.up) return [];
    unit.up = false;
    const lost = new Set([...(unit instanceof DecodeGroup ? unit.placements : []), ...("prompts" in unit ? unit.prompts : [])]);
    if (unit instanceof DecodeGroup) this.#placements.forks.drop(unit);
    const sequences = [...lost].flatMap((placement) => this.#placements.displace(placement));
    // A new epoch forgets them anyway.
    unit.closing = [];
    if (unit instanceof MixedUnit) unit.paused = null;
    this.counters.replays += sequences.length;
    for (const sequence of sequences) sequence.losses++;
    return sequences;
  }

  /**
   * Places whoever's turn it is, as long as there is room.
   *
   * @param usable whether prompts of a unit can be handed to a group
   * @returns placements whose decode group must make room, see {@link opened}
   */
  admit(now: number, usable: Usable): Placement[] {
    const placed: Placement[] = [];
    while (true) {
      const sequence = this.waiting.peek();
      const placement = sequence === undefined ? null : this.#placements.place(sequence, now, usable);
      if (placement === null) return placed;
      placed.push(placement);
    }
  }

  /** The decode group has made room. */
  opened(placement: Placement): void {
    placement.opened = true;
  }

  /**
   * What a mixed unit does next: steps and chunks take turns, so that neither who generates nor who has just come waits for long. A chunk that is paused goes on before
   * another is begun, if its prompt is still wanted.
   *
   * @param most most tokens of a chunk after so many positions while others generate
   */
  nextWork(unit: MixedUnit, now: number, most: ChunkTokens): { readonly chunk: PrefillChunk } | { readonly step: PlannedStep } | null {
    const nextStep = () => {
      const step = this.nextStep(unit);
      return step === null ? null : { step };
    };
    const nextChunk = (limit?: ChunkTokens) => {
      const chunk = this.#resume(unit) ?? this.nextChunk(unit, now, limit);
      return chunk === null ? null : { chunk };
    };
    if (unit.running.size === 0) return nextChunk();
    return unit.prefilled ? nextStep() ?? nextChunk(most) : nextChunk(most) ?? nextStep();
  }

  /**
   * The chunk that a unit computes next: of the prompt with the least to compute, where long waiting counts like having less; of its client's prompts, one that has
   * the first priority.
   *
   * @param most tokens of it; a chunk by default
   */
  nextChunk(unit: PromptUnit, now: number, most: ChunkTokens = () => this.options.chunkTokens): PrefillChunk | null {
    if (!unit.up || (unit instanceof MixedUnit && unit.stepping)) return null;
    const ready = [...unit.prompts].filter(({ opened, uses }) => opened && uses === 0);
    const score = ({ remaining, admitted }: Placement) => remaining - (now - admitted) * AGING;
    const least = (placements: readonly Placement[]) => placements.reduce((best, other) => score(other) < score(best) ? other : best);
    if (ready.length === 0) return null;
    // Whose turn it is does not depend on what he thinks of his requests; which of them is computed does.
    const { sequence: { client } } = least(ready);
    const own = ready.filter(({ sequence }) => sequence.client === client);
    const first = Math.min(...own.map(({ sequence }) => sequence.priority));
    return this.#placements.chunk(least(own.filter(({ sequence }) => sequence.priority === first)), most);
  }

  /** Some layers of a chunk of a mixed unit are computed: others may take their turn before the next ones, see {@link nextWork}. */
  chunkPaused(chunk: PrefillChunk): void {
    const { placement } = chunk;
    const unit = placement.prefill as MixedUnit;
    unit.paused = chunk;
    unit.prefilled = true;
    this.#placements.chunkEnded(placement);
    placement.uses--;
    this.#placements.settle(placement);
  }

  /**
   * The chunk that is paused, of which layers are computed behind a step that is planned; null: none. It ends like one that is computed by itself, after the step.
   *
   * @param may whether its next layers are computed so; otherwise their turn comes after the step
   */
  chunkBehind({ group: unit }: PlannedStep, may: (chunk: PrefillChunk) => boolean): PrefillChunk | null {
    if (!(unit instanceof MixedUnit) || unit.paused === null) return null;
    const { paused: chunk } = unit;
    if (!unit.prompts.has(chunk.placement) || !may(chunk)) return null;
    unit.paused = null;
    chunk.placement.uses++;
    return chunk;
  }

  /** The chunk that was paused, if it is still wanted where it was. */
  #resume(unit: MixedUnit): PrefillChunk | null {
    const { paused: chunk } = unit;
    if (chunk === null || !unit.up || unit.stepping) return null;
    unit.paused = null;
    if (!unit.prompts.has(chunk.placement)) return null;
    this.#placements.chunkBegins(chunk.placement);
    return chunk;
  }

  /** A chunk is computed. After the last one of a prompt that a group decodes, {@link handed} or {@link chunkFailed} tells what became of its latents. */
  chunkDone({ placement, start, count, last, asking }: PrefillChunk): ChunkOutcome {
    const { prefill, decode } = placement;
    // Who lost this place meanwhile is asked again in another, and must not get the same token twice.
    const asked = asking.map((sequence) => sequence.placement === placement || sequence.leader === placement ? sequence : null);
    placement.prefilled = start + count;
    this.#charge(placement.sequence.client, count);
    // Those before are published already: of a long prompt, chunks and blocks are many.
    const [first, end] = [start, placement.prefilled].map((tokens) => Math.floor(tokens / this.options.blockTokens));
    for (let block = first; block < end; block++) prefill.promptCache.publish(placement.sequence.hashes[block], placement.promptBlocks[block]);
    this.#placements.chunkEnded(placement);
    if (prefill instanceof MixedUnit) prefill.prefilled = true;
    // Until its latents are where they go, its blocks are in use on both sides.
    if (last && decode !== null && !placement.mixed) return { asked, computed: null };
    placement.uses--;
    // The ranks have closed it by themselves.
    if (last) this.#placements.leavePrefill(placement, false);
    this.#placements.settle(placement);
    if (!last || placement.released) return { asked, computed: null };
    if (decode !== null) {
      this.#placements.join(placement, decode);
      return { asked, computed: null };
    }
    this.#placements.release(placement);
    return { asked, computed: placement.sequence };
  }

  /** The latents of a prompt whose last chunk was computed are handed over: its sequences join the batch of their group. */
  handed({ placement }: PrefillChunk): void {
    placement.uses--;
    this.#placements.leavePrefill(placement, false);
    this.#placements.settle(placement);
    if (!placement.released) this.#placements.join(placement, placement.decode!);
  }

  /** A chunk, or the handoff after the last one, has failed, and with it the unit or the group; {@link down} says which. */
  chunkFailed({ placement }: PrefillChunk): void {
    this.#placements.chunkEnded(placement);
    placement.uses--;
    this.#placements.settle(placement);
  }

  /** The next step of a group; null if nothing is to be done or one is in flight. Sequences that came last are preempted where blocks run out. */
  nextStep(group: DecodeGroup): PlannedStep | null {
    if (!group.up || group.stepping) return null;
    const planned = planRows(group, this.options, (placement) => {
      this.counters.preemptions++;
      this.#placements.displace(placement);
    });
    if (planned.rows.length === 0) return null;
    const forks = this.#placements.forks.take(group);
    group.stepping = true;
    if (group instanceof MixedUnit) group.prefilled = false;
    for (const placement of planned.advanced.keys()) placement.uses++;
    return { group, forks, ...planned };
  }

  /** A step is computed. @returns who was asked about, in order; null for those that lost their place meanwhile and will be asked again */
  stepDone(step: PlannedStep): (Sequence | null)[] {
    for (const [placement, count] of step.advanced) {
      placement.length += count;
      this.#charge(placement.sequence.client, count);
    }
    this.#placements.stepEnded(step);
    return step.asking.map(({ placement }) => placement.alive ? placement.sequence : null);
  }

  /** A step has failed, and with it the group. */
  stepFailed(step: PlannedStep): void {
    this.#placements.stepEnded(step);
  }

  /** A token was chosen for a sequence. */
  append(sequence: Sequence, token: number): void {
    sequence.generated.push(token);
    sequence.drafts?.push(token);
    sequence.losses = 0;
  }

  /** A sequence needs no more: finished, cancelled or given up. Its blocks go back as soon as nothing in flight needs them. */
  end(sequence: Sequence): void {
    if (sequence.ended) return;
    sequence.ended = true;
    this.waiting.remove(sequence);
    if (this.#active.remove(sequence.client)) this.waiting.forget(sequence.client);
    const { leader, placement } = sequence;
    if (leader !== null) this.#placements.leaveLeader(sequence, leader);
    if (placement !== null) this.#placements.settle(placement);
  }

  /** Who has nothing here any more when something of his is computed has no account. */
  #charge(client: string, tokens: number): void {
    if (this.#active.has(client)) this.waiting.charge(client, tokens);
  }

  /** Sequences that are not placed any more because too many units were lost with them; giving way to others is no loss. */
  exhausted(): Sequence[] {
    return [...this.waiting].filter(({ losses }) => losses >= this.options.maxLosses);
  }

  /** Throws unless every block is held by exactly those that should hold it. */
  checkIntegrity(): void {
    for (const unit of new Set([...this.prefillUnits.values(), ...this.decodeGroups.values()])) {
      const prefilling = "prompts" in unit ? [...unit.prompts].flatMap(({ prefillBlocks }) => prefillBlocks) : [];
      const decoding = unit instanceof DecodeGroup ? [...unit.placements].flatMap(({ decodeBlocks }) => decodeBlocks) : [];
      const apart = "promptCache" in unit && unit.promptCache !== unit.cache;
      if (apart) unit.promptCache.checkIntegrity(prefilling);
      unit.cache.checkIntegrity(apart ? decoding : [...prefilling, ...decoding]);
    }
  }
}

function revive<U extends PromptUnit | DecodeGroup>(units: Map<string, U>, name: string, blocks: number | null, create: () => U): U {
  const known = units.get(name);
  if (known !== undefined && blocks === null) {
    known.up = true;
    return known;
  }
  const unit = create();
  units.set(name, unit);
  return unit;
}
