/**
 * What the scheduler knows: generations, where they are placed, and the units that serve them. No I/O, no clock.
 *
 * @module
 */
import { PrefixCache } from "../../core/cache/prefix_cache.ts";
import { prefixHashes } from "../../core/cache/prefix_hash.ts";
import type { DraftSource } from "../../core/speculation/draft_source.ts";
import { StepCosts } from "../../core/speculation/step_costs.ts";

/** What a generation asks of the scheduler. */
export interface SequenceOptions {
  readonly prompt: readonly number[];
  /** Tokens to generate at most; 0: the prompt is only computed. */
  readonly mostTokens: number;
  /** Whose it is. */
  readonly client: string;
  /** Smaller ones of its client's come first; default: 0. */
  readonly priority?: number;
  /** Whether every prompt position must be computed, cached or not, because its logits are wanted. */
  readonly wholePrompt: boolean;
  /** Names of its whole blocks, if they are known already. */
  readonly hashes?: readonly string[];
  /** Guesses what comes next; default: nothing does. */
  readonly drafts?: DraftSource | null;
  /** Milliseconds on the scheduler's clock. */
  readonly now: number;
  readonly blockTokens: number;
  readonly decodeBlockTokens: number;
}

/** One generation. */
export class Sequence {
  readonly prompt: readonly number[];
  readonly mostTokens: number;
  readonly client: string;
  readonly priority: number;
  readonly wholePrompt: boolean;
  readonly arrived: number;
  /** Order of arrival. */
  readonly order: number;
  /** Names of its whole prompt blocks. */
  readonly hashes: readonly string[];
  /** The same where it is generated, whose blocks may stand for several of these. */
  readonly decodeHashes: readonly string[];
  readonly #blockTokens: number;
  readonly generated: number[] = [];
  readonly drafts: DraftSource | null;
  /** Where it is; null while it waits. */
  placement: Placement | null = null;
  /** The placement whose prefill it shares, until that is done. */
  leader: Placement | null = null;
  ended = false;
  /** Takes no part in steps for a moment: what may come next is not known yet. */
  paused = false;
  /** Units that were lost with it since it last got a token. */
  losses = 0;
  /** Prompt tokens that were cached when it was last placed. */
  cachedTokens = 0;

  constructor(options: SequenceOptions, order: number) {
    const { prompt, mostTokens, client, priority = 0, wholePrompt, now, blockTokens, decodeBlockTokens, hashes, drafts = null } = options;
    this.prompt = prompt;
    this.mostTokens = mostTokens;
    this.client = client;
    this.priority = priority;
    this.wholePrompt = wholePrompt;
    this.arrived = now;
    this.order = order;
    this.#blockTokens = blockTokens;
    this.drafts = drafts;
    this.hashes = hashes ?? prefixHashes(prompt, blockTokens, client);
    // The name of a block is that of all up to its end.
    const several = decodeBlockTokens / blockTokens;
    this.decodeHashes = several === 1 ? this.hashes : this.hashes.filter((_, i) => (i + 1) % several === 0);
  }

  /** Whether another waiting sequence can share its prefill: the same prompt of the same client, nothing generated yet. */
  mayShareWith(other: Sequence): boolean {
    const fresh = (sequence: Sequence) => !sequence.wholePrompt && sequence.mostTokens > 0 && sequence.generated.length === 0;
    if (this.client !== other.client || !fresh(this) || !fresh(other) || this.prompt.length !== other.prompt.length) return false;
    // The last name stands for all whole blocks.
    const named = this.hashes.length * this.#blockTokens;
    return this.hashes.at(-1) === other.hashes.at(-1) && this.prompt.slice(named).every((token, i) => token === other.prompt[named + i]);
  }
}

/** A sequence in its place: the units that serve it and the blocks it holds there. */
export class Placement {
  /** Names it on the ranks; another one after every placement, so that late frames of a former one cannot be taken for it. */
  readonly id: number;
  /** Whose it is; another of those that share it where the first has ended. */
  sequence: Sequence;
  readonly prefill: PromptUnit;
  /** null where nothing is generated; a mixed unit decodes what it has computed, from there or from what its ranks keep of it. */
  readonly decode: DecodeGroup | null;
  readonly admitted: number;
  /** Of the prompt while it is computed; none where it is computed in the blocks that it is decoded from. */
  prefillBlocks: number[];
  readonly decodeBlocks: number[];
  /** Prompt tokens that were there already to decode from. */
  readonly from: number;
  /** Prompt tokens that the prefill unit holds. */
  prefilled: number;
  /** Whether the prefill unit knows it. */
  begun = false;
  /** Whether the decode group has made room, so that latents can come. */
  opened: boolean;
  /** Tokens that the decode group holds, of prompt and answer. */
  length = 0;
  /** Sequences with the same prompt that will be forked off when it is computed. */
  readonly sharing: Sequence[] = [];
  /** Chunks, steps and forks in flight that need its blocks. */
  uses = 0;
  released = false;

  constructor(options: {
    readonly id: number;
    readonly sequence: Sequence;
    readonly prefill: PromptUnit;
    readonly decode: DecodeGroup | null;
    readonly admitted: number;
    readonly prefillBlocks: number[];
    readonly decodeBlocks: number[];
    readonly cached: number;
    readonly from: number;
  }) {
    this.id = options.id;
    this.sequence = options.sequence;
    this.prefill = options.prefill;
    this.decode = options.decode;
    this.admitted = options.admitted;
    this.prefillBlocks = options.prefillBlocks;
    this.decodeBlocks = options.decodeBlocks;
    this.prefilled = options.cached;
    this.from = options.from;
    this.opened = options.decode === null || this.mixed;
  }

  /** Whether one unit computes and decodes it. */
  get mixed(): boolean {
    return this.prefill === this.decode;
  }

  /** Whether it is decoded from the blocks that it is computed in. */
  get inPlace(): boolean {
    return this.mixed && this.prefill.promptCache === this.decode!.cache;
  }

  /** Those that hold its prompt while that is computed. */
  get promptBlocks(): number[] {
    return this.inPlace ? this.decodeBlocks : this.prefillBlocks;
  }

  /** Whether its sequence still wants it. */
  get alive(): boolean {
    return this.sequence.placement === this && !this.sequence.ended;
  }

  /** Prompt tokens still to be computed. */
  get remaining(): number {
    return this.sequence.prompt.length - this.prefilled;
  }

  /** Generated tokens that the decode group does not hold yet: the last one, and more after a loss. */
  get pending(): readonly number[] {
    return this.sequence.generated.slice(this.length - this.sequence.prompt.length);
  }
}

/** One prefill chunk, for a prefill unit. */
export interface PrefillChunk {
  readonly placement: Placement;
  /** Whether it is the first. */
  readonly begin: boolean;
  readonly start: number;
  readonly count: number;
  readonly last: boolean;
  /** Sequences that want a first token of it; empty where they have theirs. */
  readonly asking: readonly Sequence[];
}

/** What prefill units and decode groups have in common. */
abstract class ScheduledUnit {
  readonly name: string;
  readonly cache: PrefixCache;
  /** Whether it can be used now. */
  up = true;
  /** Placements whose blocks were given back and which its ranks must be told to close. */
  closing: number[] = [];

  constructor(name: string, blocks: number) {
    this.name = name;
    this.cache = new PrefixCache(blocks);
  }

  /** What must be closed, once. */
  takeClosing(): number[] {
    const closing = this.closing;
    this.closing = [];
    return closing;
  }
}

/** Computes prompts. */
export class PrefillUnit extends ScheduledUnit {
  readonly prompts = new Set<Placement>();

  /** Where prompts are computed. */
  get promptCache(): PrefixCache {
    return this.cache;
  }

  /** Prompt tokens that are waiting to be computed here. */
  get load(): number {
    return remaining(this.prompts);
  }
}

/** Generates. */
export class DecodeGroup extends ScheduledUnit {
  /** Everything that holds blocks here. */
  readonly placements = new Set<Placement>();
  /** Those that take part in steps, in order of arrival. */
  readonly running = new Set<Placement>();
  /** Whether a step is in flight. */
  stepping = false;
  /** What its steps take. */
  readonly costs: StepCosts = new StepCosts();
  /** What drafting a token takes, for so many sequences, where a layer of the model drafts. */
  readonly draftCosts: StepCosts = new StepCosts();
  /** Sequences that will be forked here when their prompt is computed. */
  reserved = 0;

  /** Placements whose blocks others may take, if nothing in flight needs them. */
  get preemptible(): Iterable<Placement> {
    return this.running;
  }
}

/**
 * Computes prompts and generates, one after the other: nothing is handed over. It has one cache for both, unless its ranks keep slices of latents to generate from: then
 * prompts are computed in another one, of whole latents, and lie in both for as long as that takes.
 */
export class MixedUnit extends DecodeGroup {
  readonly prompts = new Set<Placement>();
  /** Where prompts are computed. */
  readonly promptCache: PrefixCache;
  /** Whether the last thing that it did was a prefill chunk, or layers of one. */
  prefilled = false;
  /** A chunk of which layers are left; while others take their turn it needs nothing but its blocks, and may lose them. */
  paused: PrefillChunk | null = null;

  /** @param promptBlocks of a cache for prompts alone; null: they are computed where they are generated from */
  constructor(name: string, blocks: number, promptBlocks: number | null) {
    super(name, blocks);
    this.promptCache = promptBlocks === null ? this.cache : new PrefixCache(promptBlocks);
  }

  /** Prompt tokens that are waiting to be computed here. */
  get load(): number {
    return remaining(this.prompts);
  }

  override get preemptible(): Iterable<Placement> {
    // What is only computed holds nothing of a cache that is only generated from.
    const prompts = [...this.prompts].filter(({ decode }) => decode !== null || this.promptCache === this.cache);
    return [...this.running, ...prompts];
  }
}

/** Where prompts are computed. */
export type PromptUnit = PrefillUnit | MixedUnit;

function remaining(prompts: Iterable<Placement>): number {
  let tokens = 0;
  for (const { remaining } of prompts) tokens += remaining;
  return tokens;
}
