/**
 * What the coordinator needs of the workers' side. `compose.ts` hands it in: cluster and workers never import each other.
 *
 * @module
 */
import type { CacheDtype, IndexDtype } from "../../core/cache/cache_dtype.ts";
import type { DeviceKind } from "../../core/device_kind.ts";
import type { LatentmeshError } from "../../core/errors.ts";
import type { ModelFiles } from "../../core/model/checkpoint.ts";
import type { ByteSource } from "../../core/model/safetensors.ts";
import type { GroupPlace } from "../../core/tpla/group_place.ts";
import type { MeasuredWidths, WidthBudget } from "../../core/tpla/chosen_widths.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import type { LoadTimes } from "../../core/wire/load_times.ts";
import type { RankMemory } from "../../core/tpla/plan.ts";
import type { Transport } from "../../core/wire/transport.ts";
import type { Settings } from "../config/settings.ts";
import type { Tls } from "../config/tls.ts";
import type { SpawnOptions, WorkerProcess } from "../processes/spawn.ts";
import type { UnitPlan } from "./topology.ts";

/** Files of a model. */
export type OpenFiles = ModelFiles & Disposable & {
  /** Opens a file that may lie elsewhere; null if there is none. */
  openPath(path: string): Promise<ByteSource | null>;
  /** What a process with another working directory opens the model by. */
  location(): Promise<string>;
};

/** What a device is, without keeping it open. */
export interface ProbedDevice {
  readonly kind: DeviceKind;
  readonly description: string;
  /** Why it was taken. */
  readonly reason: string;
  /** What would make more of this machine. */
  readonly advice?: string;
  readonly limits: { readonly maxBindingBytes: number };
}

/** What one worker is to hold and how much it computes at a time. */
export interface RankSizes {
  readonly model: string;
  readonly shape: RankShape;
  /** Of a rank that generates from slices of latents: its part of prompts, and the cache of their whole latents. */
  readonly promptShape?: RankShape;
  readonly promptCache?: { readonly maxTokens: number; readonly maxSequences: number } | null;
  /** Whether latents change their basis. */
  readonly changesBasis: boolean;
  /** Whether the layer that drafts is loaded; default: it is not. */
  readonly mtp?: boolean;
  readonly weights: Settings["weights"];
  readonly cacheDtype: CacheDtype;
  readonly indexDtype?: IndexDtype;
  readonly maxTokens: number;
  readonly maxContext: number;
  readonly maxSequences: number;
  readonly limits: {
    readonly prefillRows: number;
    readonly decodeRows: number;
    readonly window: number;
    readonly keptWindows?: number;
    readonly logitRows: number;
  };
  readonly group: GroupPlace;
  readonly role: UnitPlan["role"];
  /** Halves of a step that run side by side. */
  readonly lanes: number;
  /** Whether its device may have matrix units. */
  readonly matrixUnits: boolean;
}

/** What planning needs of the workers' side, and of the host. */
export interface PlanServices {
  /** @param model a directory, or the name of a synthetic model */
  openFiles(model: string): OpenFiles;
  /** @throws {LatentmeshError} `device_unavailable` */
  probeDevice(choice: Settings["device"], dawn: string | undefined): Promise<ProbedDevice>;
  planMemory(options: RankSizes): Promise<RankMemory>;
  /**
   * Bytes that are left of the host's own memory, of a GPU by its number, of whichever GPU has least, or, if null, of the only GPU there is.
   *
   * @throws {LatentmeshError} `device_unavailable` if it cannot be known
   */
  freeMemory(device: "host" | "any" | number | null): Promise<number>;
}

/** What a calibration gave. */
export interface Calibration {
  readonly provenance: { readonly tokens: number };
  readonly width: number;
  readonly statistics: readonly unknown[];
  readonly chosen: readonly MeasuredWidths[];
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
  /** What to choose widths for by measurement; default: nothing. */
  readonly budgets?: readonly WidthBudget[];
  readonly onProgress: (progress: { readonly done: number; readonly total: number }) => void;
  readonly onMeasured?: (progress: { readonly done: number; readonly total: number }) => void;
}) => Promise<Calibration>;

/** A worker in this process; see `workers/local/local_worker.ts`. */
export interface LocalWorker {
  /** Resolves with the reason when its device is gone. */
  readonly lost: Promise<LatentmeshError>;
  readonly device: Pick<ProbedDevice, "kind" | "description"> & { readonly maxBindingBytes: number; readonly advice?: string | null };
  /** Why it was taken. */
  readonly reason: string;
  /** Bytes that the device had left; null where that cannot be told. */
  readonly freeBytes: number | null;
  readonly loadTimes: LoadTimes;
  /**
   * Answers what a coordinator would ask. Questions and answers are those of `core/wire/messages.ts`, whose schemas are no part of the public API: they are typed where
   * they are asked and where they are answered.
   *
   * @throws {LatentmeshError}
   */
  answer(
    request: { readonly kind: string },
    payload: Uint8Array<ArrayBuffer>,
  ): Promise<{ readonly kind: string; readonly payload?: ArrayBufferView<ArrayBuffer> }>;
  close(): Promise<void>;
}

/** How a worker in this process is opened. */
export interface OpenLocal extends Pick<Settings, "device" | "dawn" | "tuning"> {
  /** Its name. */
  readonly worker: string;
  /** Model directory. */
  readonly model: string;
  readonly onProgress: (progress: { readonly loadedBytes: number; readonly totalBytes: number }) => void;
}

/** What a coordinator is given. */
export interface ClusterServices extends PlanServices {
  /** @param tls contents, not paths */
  transport(tls: Tls): Transport;
  /** @throws {LatentmeshError} `device_unavailable` */
  openLocal(options: OpenLocal): Promise<LocalWorker>;
  spawn(options: Omit<SpawnOptions, "entry" | "unixHost">): WorkerProcess;
  /** GPUs of this host that workers can be given; 0 where that cannot be told. */
  gpuCount(): number;
  readonly calibrate: Calibrate;
  /** A digest of every tensor, see `core/model/contents.ts`. @param isWanted looked at now and then @throws {LatentmeshError} `cancelled` */
  digestFiles(directory: string, isWanted: () => boolean): Promise<Uint8Array<ArrayBuffer>>;
}
