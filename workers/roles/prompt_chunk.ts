/**
 * What a prefill rank, or a mixed one, is asked to compute of prompts.
 *
 * @module
 */
import type { RequestOf } from "../../core/wire/messages.ts";
import type { QueryFrame } from "../../core/wire/queries.ts";
import type { HandoffTarget, OutgoingOptions } from "../handoff/handoff_target.ts";
import type { KeptSlices } from "./decode.ts";

/** One prefill chunk. */
export interface PromptChunk
  extends Pick<RequestOf<"prefill">, "sequence" | "start" | "layers" | "last" | "awaited" | "promptLogprobs" | "following"> {
  /** Given with the first layers. */
  readonly tokens: readonly number[];
  /** Asked of the last position. */
  readonly queries: readonly QueryFrame[];
  /** Given with the first chunk. */
  readonly begin: {
    /** Tokens of the whole prompt. */
    readonly length: number;
    /** Of the whole prompt; those before the first chunk hold its beginning already. */
    readonly blocks: readonly number[];
    /** Where its latents go, from which position on, and how long a rank may leave them unacknowledged; null: nowhere. */
    readonly target: Omit<OutgoingOptions, "sequence"> & { readonly ranks: readonly HandoffTarget[]; readonly from: number } | null;
    /** Whether it is generated from where it is computed: its blocks are not given back after the last chunk, see {@link AdoptsPrompts}. */
    readonly stays: boolean;
    /** What this rank keeps of it in the cache that it generates from, where that is another one; none by default. */
    readonly slices?: KeptSlices | null;
  } | null;
}

/** Layers of a chunk that are computed behind a step. */
export type LayersBehind = NonNullable<RequestOf<"step">["behind"]>;
