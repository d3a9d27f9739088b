/**
 * Whoever keeps the units that requests are served on: a coordinator whose workers are processes, or one worker in this process.
 *
 * @module
 */
import type { LoadProgress } from "../../core/wire/load_times.ts";
import type { LatentmeshError } from "../../core/errors.ts";
import type { CachePlan } from "../planning/assignment.ts";
import type { Incidents } from "./incidents.ts";
import type { Member, Unit, UnitListener } from "./unit.ts";

/** What serving needs of whoever keeps its units. */
export interface Units {
  /** Whether prompts of a unit can be handed to a group now. */
  usable(prefill: Unit, decode: Unit): boolean;
  /** Something failed on a unit in one of its epochs; decides who is to blame and repairs. */
  report(unit: Unit, error: LatentmeshError, epoch: number): void;
}

/** Keeps units. */
export interface UnitHost extends Units {
  readonly units: readonly Unit[];
  /** Workers that are there. */
  readonly members: readonly Member[];
  /** Sizes that all workers agree on. */
  readonly cache: CachePlan;
  /** What is not as it should be though requests are served, in words; null: nothing. */
  readonly degraded: string | null;
  /** What went wrong lately, and what became of it. */
  readonly incidents: Incidents;
  /** Rejects when nothing can be served any more. */
  readonly failed: Promise<never>;
  /** From now on, tells a listener what becomes of units; first, what is there. */
  attach(listener: UnitListener): void;
  /** Ends all workers of this host. */
  close(): Promise<void>;
}

/** How far loading has come, over all workers. */
export type OnLoading = (progress: LoadProgress) => void;
