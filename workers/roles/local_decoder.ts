/**
 * Who generates from prompts on the device that computes them, as a prefill rank sees it.
 *
 * @module
 */
import type { Step } from "../forward/context.ts";
import type { CachedSequence } from "../forward/latent_cache.ts";
import type { HeadQuery } from "../forward/logits_head.ts";
import type { Span } from "../handoff/latent_exporter.ts";
import type { KeptSlices } from "./decode.ts";
import type { LogitTables } from "./logit_tables.ts";

/** What generates from a prompt's own blocks, which stay. */
export interface AdoptsPrompts {
  /** Takes a prompt over that is computed. */
  readonly onComputed: (sequence: number, cached: CachedSequence) => void;
  /** The device works on the last rows of a prompt, of whose last position this was asked. */
  readonly onAsked: (step: Step, queries: readonly HeadQuery[]) => void;
}

/** Records that a layer's latents of some positions are copied to where they are generated from. */
export type TakeLatents = (layer: number, span: Span) => void;

/** What generates from slices of latents in a cache of its own. */
export interface SlicesPrompts {
  /** A prompt begins of which such slices will be kept. @throws {LatentmeshError} `protocol` */
  readonly open: (sequence: number, slices: KeptSlices) => TakeLatents;
}

/** What generates, in the same rank, from what is computed here. */
export interface LocalDecoder {
  /** Shared by both. */
  readonly tables: LogitTables;
  readonly prompts: AdoptsPrompts | SlicesPrompts;
}
