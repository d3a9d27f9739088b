/**
 * What a scheduler is told and what it plans.
 *
 * @module
 */
import type { PlacingOptions } from "./placing.ts";
import type { DecodeGroup, Placement, Sequence } from "./state.ts";
import type { PlannedRows } from "./step_planner.ts";

/** Limits of a `Scheduler`. */
export interface SchedulerOptions extends PlacingOptions {
  /** Prompt tokens computed at a time. */
  readonly chunkTokens: number;
  /** Sequences of one decode group at a time. */
  readonly maxBatch: number;
  /** Rows of one step, at least as many as sequences: what is left is for sequences that are rebuilt. */
  readonly stepRows: number;
  /** Sequences that may wait, of all clients and of each. */
  readonly maxWaiting: number;
  readonly maxWaitingPerClient: number;
  /** Prompts that one prefill unit has begun or will begin next. */
  readonly maxPrompts: number;
  /** Units that may be lost with one sequence, without a token in between. */
  readonly maxLosses: number;
}

/** What a computed chunk comes to. */
export interface ChunkOutcome {
  /** Who was asked about, in order; null for those that lost their place meanwhile and will be asked again. */
  readonly asked: readonly (Sequence | null)[];
  /** A sequence that is computed and generates nothing. */
  readonly computed: Sequence | null;
}

/** A sequence that begins with what another one holds. */
export interface Fork {
  readonly placement: Placement;
  readonly from: Placement;
  readonly tokens: number;
  /** Blocks that are shared. */
  readonly shared: number;
  /** All that it holds: whole ones of what is shared, then its own. What it is given in its first step comes on top. */
  readonly blocks: readonly number[];
}

/** One step of a decode group. */
export interface PlannedStep extends PlannedRows {
  readonly group: DecodeGroup;
  readonly forks: readonly Fork[];
}

/** Running totals. */
export interface SchedulerCounters {
  /** Prompt tokens of placed sequences. */
  promptTokens: number;
  /** Those of them that were cached. */
  cachedTokens: number;
  /** Sequences that lost their place to others. */
  preemptions: number;
  /** Sequences that lost their place with a unit. */
  replays: number;
  /** Tokens of drafts that were computed, by their place in the draft. */
  readonly drafted: number[];
  /** Those of them that were right, as were all before them. */
  readonly accepted: number[];
}
