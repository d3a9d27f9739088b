/**
 * A mixed rank: computes prompts and generates in turns. A prompt that is computed is generated from where it lies, in the one cache that there is; or, where ranks keep
 * slices of latents to generate from, from what each copies of the whole latents on its own device. Nothing goes over the wire but sums, and weights are there once, but
 * for those of attention where it is cut in two ways. Chunks and steps have working memory of their own, so that steps can run between the layers of a chunk.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { LogitsAnswer } from "../../core/generation.ts";
import type { RequestOf } from "../../core/wire/messages.ts";
import type { Answers, QueryFrame, TokenRow } from "../../core/wire/queries.ts";
import type { OnProgress } from "../../core/wire/rpc.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import { type Collective, SoloCollective } from "../collective/collective.ts";
import { DecodeRank, type StepChanges } from "./decode.ts";
import type { DraftHead } from "./draft_head.ts";
import { LatentSlicer } from "../handoff/latent_slicer.ts";
import { LogitTables } from "./logit_tables.ts";
import type { MixedModels } from "../forward/mixed_models.ts";
import { PrefillRank } from "./prefill.ts";
import type { LayersBehind, PromptChunk } from "./prompt_chunk.ts";

/** A prefill rank and a decode rank on one device. */
export class MixedRank {
  readonly kind = "mixed";
  readonly #prefill: PrefillRank;
  readonly #decode: DecodeRank;
  readonly #tables: LogitTables;
  /** Whoever was asked about logits last: both leave them in the same place. */
  #asked: PrefillRank | DecodeRank | null = null;

  private constructor(prefill: PrefillRank, decode: DecodeRank, tables: LogitTables) {
    this.#prefill = prefill;
    this.#decode = decode;
    this.#tables = tables;
  }

  /**
   * @param shape what is kept of latents where models have a cache each; null: they have the same
   * @param draft what drafts behind steps; nothing by default
   */
  static async create(models: MixedModels, shape: RankShape | null = null, draft: DraftHead | null = null): Promise<MixedRank> {
    const tables = new LogitTables();
    const decode = await DecodeRank.create([models.decode], { tables, draft });
    const slicer = shape === null ? null : await LatentSlicer.create(models.prefill, models.decode, shape);
    const prefill = await PrefillRank.createBeside(models.prefill, {
      tables,
      prompts: slicer === null
        ? {
          onComputed: (sequence, cached) => decode.adopt(sequence, cached),
          onAsked: (step, queries) => decode.anticipateFirst(step, queries),
        }
        : {
          open: (sequence, slices) => {
            decode.open({ sequence, ...slices });
            return (layer, span) => decode.slice(slicer, sequence, layer, span);
          },
        },
    });
    return new MixedRank(prefill, decode, tables);
  }

  /** Begins an epoch of the unit: every prompt and every sequence of the last one is gone. */
  async reset(collectives: readonly Collective[]): Promise<void> {
    this.#asked = null;
    await this.#prefill.reset(this.#prefill.model.group.ranks === 1 ? [new SoloCollective()] : collectives);
    await this.#decode.reset(collectives);
  }

  /** Takes in what queries will refer to. */
  tables(request: RequestOf<"tables">, payload: Uint8Array<ArrayBuffer>): void {
    this.#tables.take(request, payload);
  }

  /** Gives the blocks of a prompt or a sequence back; one that is not open is no error. */
  close(sequence: number): void {
    this.#prefill.close(sequence);
    this.#decode.close(sequence);
  }

  /** Computes a prefill chunk; see {@link PrefillRank.run}. @throws {LatentmeshError} */
  async run(chunk: PromptChunk, onProgress?: OnProgress): Promise<Answers> {
    // Found out before anything is computed: a prompt that nobody can take over would keep its blocks.
    if (chunk.begin !== null) this.#decode.refuseOpen(chunk.sequence);
    this.#asked = this.#prefill;
    return await this.#prefill.run(chunk, onProgress);
  }

  /**
   * Runs one step; see {@link DecodeRank.step}.
   *
   * @param behind what is begun with meanwhile, see {@link PrefillRank.runBehind}
   * @throws {LatentmeshError}
   */
  async step(
    rows: readonly TokenRow[],
    queries: readonly QueryFrame[],
    changes: StepChanges,
    behind: LayersBehind | null = null,
  ): Promise<LogitsAnswer[]> {
    this.#asked = this.#decode;
    return await this.#decode.step(rows, queries, changes, behind === null ? undefined : () => this.#prefill.runBehind(behind));
  }

  /** Drafts the token behind each row; see {@link DecodeRank.draft}. @throws {LatentmeshError} */
  async draft(
    rows: readonly TokenRow[],
    queries: readonly QueryFrame[],
    options: Pick<RequestOf<"draft">, "grow" | "ahead">,
  ): Promise<LogitsAnswer[]> {
    this.#asked = null;
    return await this.#decode.draft(rows, queries, options);
  }

  /** The logits of what was asked last: all of this rank's part of the vocabulary, with the query's changes. */
  async row(index: number): Promise<Float32Array<ArrayBuffer>> {
    if (this.#asked === null) throw new LatentmeshError("protocol", `Nothing was asked as number ${index}`);
    return await this.#asked.row(index);
  }
}
