/**
 * The paged latent cache of one worker: one buffer per layer on the device, one block table for all layers, and the sequences that hold blocks.
 *
 * @module
 */
import { BLOCK_TOKENS, BlockAllocator } from "../../core/cache/blocks.ts";
import { ALL_TOKENS, blockTokensOf, keepsToken, keptTokens, type TokenShare } from "../../core/cache/token_share.ts";
import { invariant, LatentmeshError } from "../../core/errors.ts";
import { ceilDiv } from "../../core/numeric.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { type CacheConfig, type CacheDtype, cacheTokenBytes, type LatentConfig } from "../../kernels/latent_cache/layout.ts";
import { NO_SLOT } from "../../kernels/rope_store/rope_store.ts";

/** What a cache holds: everything, or whole latents of prompts beside another cache that is generated from. */
export type CachePurpose = "sequences" | "prompts";

/** Sizes of a {@link LatentCache}. */
export interface LatentCacheOptions {
  /** How tokens lie, by layer: in one precision. */
  readonly configs: readonly LatentConfig[];
  /** Each is {@link BLOCK_TOKENS} slots here, and stands for as many tokens on every rank that has another share of them. */
  readonly blocks: number;
  /** Tokens of every sequence that are kept; default: all. */
  readonly tokens?: TokenShare;
  /** Longest sequence, in tokens. */
  readonly maxContext: number;
  /** Most sequences at a time. */
  readonly maxSequences: number;
  /** Default: everything. */
  readonly purpose?: CachePurpose;
  /** Index keys that are cached beside latents, of some layers and all tokens, whoever keeps their latents; default: none. */
  readonly indexKeys?: { readonly config: CacheConfig; readonly layers: readonly number[] } | null;
}

/** What is cached of tokens in one place, [slots, width], and how. */
export interface CacheBuffer {
  readonly pages: DeviceBuffer;
  readonly config: CacheConfig;
  /** Tokens of every sequence that are kept there. */
  readonly tokens: TokenShare;
  /** How many of those that a block stands for. */
  readonly blockTokens: number;
  readonly slots: number;
}

/** One sequence's place in the cache. */
export class CachedSequence {
  /** First word of its block table. */
  readonly table: number;
  /** Tokens whose latents have been written. */
  length = 0;
  readonly blocks: number[] = [];
  /** Which of the cache's sequences it is. */
  readonly ordinal: number;
  /** Positions whose hidden states are kept, half-open; see `kept_hidden.ts`. */
  readonly hidden: { first: number; end: number } = { first: 0, end: 0 };
  /** Tokens of its prompt, which is computed as if in one piece; 0 where all that is computed of it was generated. */
  readonly promptTokens: number;
  readonly #share: TokenShare;

  constructor(table: number, ordinal: number, promptTokens: number, share: TokenShare = ALL_TOKENS) {
    this.table = table;
    this.ordinal = ordinal;
    this.promptTokens = promptTokens;
    this.#share = share;
  }

  /** Slot of a position for which a block is held; {@link NO_SLOT} of one that is kept elsewhere. */
  slotOf(position: number): number {
    if (!keepsToken(this.#share, position)) return NO_SLOT;
    return this.blocks[Math.floor(position / blockTokensOf(this.#share))] * BLOCK_TOKENS + (position % BLOCK_TOKENS);
  }

  /** Slot of the token that is kept in a buffer of the cache as number `index`. */
  slotOfKept({ blockTokens }: Pick<CacheBuffer, "blockTokens">, index: number): number {
    return this.blocks[Math.floor(index / blockTokens)] * blockTokens + (index % blockTokens);
  }

  /** Of how many of the first `tokens` tokens latents are kept here. */
  kept(tokens: number): number {
    return keptTokens(this.#share, tokens);
  }
}

/** Device pages and the block tables that index them. */
export class LatentCache {
  readonly maxContext: number;
  /** Of latents. */
  readonly slots: number;
  /** Of which tokens of every sequence latents are kept, and how many tokens of one a block stands for. */
  readonly share: TokenShare;
  readonly blockTokens: number;
  /** One buffer per layer, of one that drafts behind the others: [slots, width]. */
  readonly layers: readonly DeviceBuffer[];
  /** By layer. */
  readonly indexKeys: ReadonlyMap<number, CacheBuffer>;
  /** All that is cached of a token: latents of every layer, and behind them index keys. Whatever moves one moves all; they are numbered as layers are. */
  readonly buffers: readonly CacheBuffer[];
  /** [maxSequences, blocks per sequence] block ids. */
  readonly tables: DeviceBuffer;
  readonly tableWords: number;
  readonly allocator: BlockAllocator;
  readonly #dtype: CacheDtype;
  readonly #device: Device;
  readonly #blocksPerSequence: number;
  readonly #freeTables: number[];
  readonly #sequences = new Set<CachedSequence>();

  constructor(device: Device, options: LatentCacheOptions) {
    const { configs, blocks, maxContext, maxSequences, purpose = "sequences", tokens: share = ALL_TOKENS, indexKeys = null } = options;
    this.#device = device;
    this.#dtype = configs[0].dtype;
    this.maxContext = maxContext;
    this.slots = blocks * BLOCK_TOKENS;
    this.share = share;
    this.blockTokens = blockTokensOf(share);
    // Of each slot of latents, in one buffer.
    const tokenBytes = Math.max(...configs.map(cacheTokenBytes), indexKeys === null ? 0 : share.of * cacheTokenBytes(indexKeys.config));
    const layerBytes = this.slots * tokenBytes;
    if (layerBytes > device.limits.maxBindingBytes) {
      const { maxBindingBytes } = device.limits;
      const most = Math.floor(maxBindingBytes / tokenBytes / BLOCK_TOKENS) * this.blockTokens;
      // A cache of prompts holds a whole context at least.
      const smaller = purpose === "sequences" ? `--max-tokens-total ${most}` : `prefill.cacheTokens ${most} and --max-tokens-total ${most}`;
      throw new LatentmeshError(
        "out_of_memory",
        `A latent cache of ${
          blocks * this.blockTokens
        } tokens needs ${layerBytes} bytes per layer, but this device binds at most ${maxBindingBytes}; use ${smaller} or less`,
        { param: purpose === "sequences" ? "max-tokens-total" : "prefill.cacheTokens" },
      );
    }
    const create = (label: string, config: CacheConfig, tokens: TokenShare): CacheBuffer => {
      const blockTokens = this.blockTokens / tokens.of;
      const slots = blocks * blockTokens;
      return { pages: device.createBuffer(label, slots * cacheTokenBytes(config)), config, tokens, blockTokens, slots };
    };
    const latents = configs.map((config, layer) => create(`latent cache ${layer}`, config, share));
    this.layers = latents.map(({ pages }) => pages);
    this.indexKeys = new Map(indexKeys?.layers.map((layer) => [layer, create(`index keys ${layer}`, indexKeys.config, ALL_TOKENS)]));
    this.buffers = [...latents, ...this.indexKeys.values()];
    this.#blocksPerSequence = ceilDiv(maxContext, this.blockTokens);
    this.tableWords = maxSequences * this.#blocksPerSequence;
    this.tables = device.createBuffer("block tables", this.tableWords * 4);
    this.allocator = new BlockAllocator(blocks);
    this.#freeTables = Array.from({ length: maxSequences }, (_, i) => (maxSequences - 1 - i) * this.#blocksPerSequence);
  }

  /** Precision in which latents of all layers are cached. */
  get dtype(): CacheDtype {
    return this.#dtype;
  }

  /** Bytes of a token whose latents are kept, and with it of what else is cached of those that a block stands for. */
  get tokenBytes(): number {
    return this.buffers.reduce((sum, { config, tokens }) => sum + cacheTokenBytes(config) * this.share.of / tokens.of, 0);
  }

  /** Begins an empty sequence. @param promptTokens see {@link CachedSequence.promptTokens} @throws {LatentmeshError} `capacity` if there are too many already */
  open(promptTokens = 0): CachedSequence {
    const table = this.#freeTables.pop();
    if (table === undefined) throw new LatentmeshError("capacity", "Too many sequences are running at once");
    const sequence = new CachedSequence(table, table / this.#blocksPerSequence, promptTokens, this.share);
    this.#sequences.add(sequence);
    return sequence;
  }

  /** True if `tokens` more can be held by this sequence. */
  canGrow(sequence: CachedSequence, tokens: number): boolean {
    return this.allocator.canAllocate(ceilDiv(sequence.length + tokens, this.blockTokens) - sequence.blocks.length);
  }

  /** Takes the blocks that `tokens` more need; all or none. @throws {LatentmeshError} `capacity` */
  grow(sequence: CachedSequence, tokens: number): void {
    const length = sequence.length + tokens;
    if (length > this.maxContext) throw new LatentmeshError("capacity", `A sequence of ${length} tokens exceeds the context of ${this.maxContext}`);
    if (!this.canGrow(sequence, tokens)) {
      throw new LatentmeshError(
        "capacity",
        `The latent cache is full (${this.allocator.blocks * this.blockTokens} tokens); raise --max-tokens-total`,
      );
    }
    const first = sequence.blocks.length;
    while (sequence.blocks.length * this.blockTokens < length) sequence.blocks.push(this.allocator.allocate());
    this.#writeTable(sequence, first);
  }

  /**
   * Appends blocks that a coordinator chose.
   *
   * @param shared how many of them are only read: what they hold was written for other sequences
   * @throws {LatentmeshError} `protocol` if one of the others is not free, or there are more than a sequence can have
   */
  hold(sequence: CachedSequence, blocks: readonly number[], shared = 0): void {
    const first = sequence.blocks.length;
    if (first + blocks.length > this.#blocksPerSequence) {
      throw new LatentmeshError("protocol", "A sequence is given more blocks than its context holds");
    }
    blocks.forEach((block, i) => {
      if (i < shared) this.allocator.hold(block);
      else this.allocator.take(block);
      sequence.blocks.push(block);
    });
    this.#writeTable(sequence, first);
  }

  /** Sequences that are open. */
  get sequences(): number {
    return this.#sequences.size;
  }

  /** Gives everything back. */
  close(sequence: CachedSequence): void {
    invariant(this.#sequences.delete(sequence), "a sequence was closed twice");
    for (const block of sequence.blocks) this.allocator.release(block);
    this.#freeTables.push(sequence.table);
  }

  /** True if the sequence's blocks hold `tokens` tokens. */
  holds(sequence: CachedSequence, tokens: number): boolean {
    return tokens <= sequence.blocks.length * this.blockTokens && tokens <= this.maxContext;
  }

  #writeTable(sequence: CachedSequence, first: number): void {
    const added = sequence.blocks.slice(first);
    if (added.length > 0) this.#device.write(this.tables, (sequence.table + first) * 4, Uint32Array.from(added));
  }

  /** Throws unless blocks are held by exactly the open sequences. */
  checkIntegrity(): void {
    this.allocator.checkIntegrity();
    const held = [...this.#sequences].flatMap((sequence) => sequence.blocks);
    invariant(this.allocator.blocks - this.allocator.free === new Set(held).size, "blocks are held by no sequence");
  }
}
