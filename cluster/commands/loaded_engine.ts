/**
 * What commands need of an engine. The cluster never imports workers: `main.ts` hands the loader in.
 *
 * @module
 */
import type { ServedModel } from "../../core/engine.ts";
import type { StepTimes } from "../../core/step_times.ts";
import type { DriftReport, DriftRequest } from "../../core/tpla/drift.ts";
import type { LoadProgress, LoadTimes } from "../../core/wire/load_times.ts";
import type { CellArithmetic } from "../../core/registry/fingerprint.ts";
import type { ClusterStatus, SchedulingStatus } from "../observe/cluster_status.ts";
import type { RequestOutcome } from "../serving/running_request.ts";
import type { Settings } from "../config/settings.ts";

/** A loaded model. */
export interface LoadedEngine {
  readonly device: string;
  readonly weightBytes: number;
  /** Where the time of loading went, if it was loaded in this process. */
  readonly loadTimes?: LoadTimes;
  /** What it consists of, for people. */
  readonly summary: string;
  /** What would make more of its machines, for people. */
  readonly advice: readonly string[];
  readonly served: ServedModel;
  /** What the scheduler is at. */
  readonly scheduling: SchedulingStatus;
  /** Where the time of decode steps went. */
  readonly stepTimes: Readonly<StepTimes>;
  /** What the bits of its answers depend on; reads all of the model's files. */
  arithmetic(): Promise<CellArithmetic>;
  /** What it is at. */
  describe(): Promise<ClusterStatus>;
  /** Has a listener told of every request that has ended, once. @returns what ends that */
  onOutcome(listener: (outcome: RequestOutcome) => void): () => void;
  /** Rejects when it can serve no longer. */
  readonly failed: Promise<never>;
  score(text: string, options: { readonly limitTokens: number }): Promise<{ readonly tokens: number; readonly nll: number }>;
  close(): Promise<void>;
}

/** How far loading has come. */
export type OnProgress = (progress: LoadProgress) => void;

/** Loads a model, in this process or on a cluster. */
export type LoadEngine = (settings: Settings, onProgress: OnProgress) => Promise<LoadedEngine>;

/** Measures drift in this process. */
export type MeasureDrift = (
  options: DriftRequest & {
    readonly model: string;
    readonly device: Settings["device"];
    readonly dawn: string | undefined;
    readonly onProgress: (progress: { readonly done: number; readonly total: number }) => void;
  },
) => Promise<DriftReport>;
