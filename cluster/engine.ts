/**
 * What commands need of an engine. The cluster never imports workers: `main.ts` hands the loader in.
 *
 * @module
 */
import type { ServedModel } from "../core/engine.ts";
import type { DriftReport, DriftRequest } from "../core/tpla/drift.ts";
import type { LoadTimes } from "../core/wire/load_times.ts";
import type { ClusterStatus } from "./cluster_status.ts";
import type { RequestOutcome } from "./serving/running_request.ts";
import type { Settings } from "./settings.ts";

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
  /** What it is at. */
  describe(): Promise<ClusterStatus>;
  /** Told of every request that has ended. */
  onOutcome: ((outcome: RequestOutcome) => void) | null;
  /** Rejects when it can serve no longer. */
  readonly failed: Promise<never>;
  score(text: string, options: { readonly limitTokens: number }): Promise<{ readonly tokens: number; readonly nll: number }>;
  close(): Promise<void>;
}

/** How far loading has come. */
export type OnProgress = (progress: { readonly loadedBytes: number; readonly totalBytes: number }) => void;

/** Loads a model, in this process or on a cluster. */
export type LoadEngine = (settings: Settings, onProgress: OnProgress) => Promise<LoadedEngine>;

/** What a calibration gave. */
export interface Calibration {
  readonly provenance: { readonly tokens: number };
  readonly width: number;
  readonly statistics: readonly unknown[];
  /** The bytes of `basis.safetensors`. */
  readonly file: Uint8Array<ArrayBuffer>;
}

/** Calibrates a model in this process. */
export type Calibrate = (options: {
  readonly model: string;
  readonly device: Settings["device"];
  readonly dawn: string | undefined;
  /** Texts, or their tokens. */
  readonly documents: readonly (string | readonly number[])[];
  readonly tokens: number;
  readonly onProgress: (progress: { readonly done: number; readonly total: number }) => void;
}) => Promise<Calibration>;

/** Measures drift in this process. */
export type MeasureDrift = (
  options: DriftRequest & {
    readonly model: string;
    readonly device: Settings["device"];
    readonly dawn: string | undefined;
    readonly onProgress: (progress: { readonly done: number; readonly total: number }) => void;
  },
) => Promise<DriftReport>;
