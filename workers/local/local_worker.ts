/**
 * A worker in the process that asks it: a device and one rank, without links. It computes what a {@link ClusterWorker} in a process of its own would.
 *
 * @module
 */
import type { DeviceTuning } from "../../core/device_kind.ts";
import { isHost, isHostChoice } from "../../core/device_kind.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { together } from "../../core/together.ts";
import type { LoadProgress, LoadTimes } from "../../core/wire/load_times.ts";
import type { Assignment, Hello, Request } from "../../core/wire/messages.ts";
import type { Answer } from "../../core/wire/rpc.ts";
import type { Transport } from "../../core/wire/transport.ts";
import type { Device } from "../../kernels/device/device.ts";
import { freeMemoryIfKnown } from "../../kernels/device/free_memory.ts";
import { type DeviceChoice, openDevice } from "../../kernels/device/providers.ts";
import { AssignedRank } from "../process/assigned_rank.ts";
import { LoadClock } from "../load/load_clock.ts";
import { type LoadedRank, loadRank } from "../process/load_rank.ts";
import { WayGiver } from "./way_giver.ts";

/** What a {@link LocalWorker} is opened with. */
export interface LocalWorkerOptions {
  /** Name of this worker. */
  readonly worker: string;
  /** Model directory. */
  readonly model: string;
  readonly device: DeviceChoice;
  readonly dawn?: string;
  readonly tuning?: DeviceTuning;
  readonly onProgress?: (progress: LoadProgress) => void;
}

/** What takes long. */
const COMPUTES: ReadonlySet<Request["kind"]> = new Set(["prefill", "step", "draft"]);

const NOBODY = () => Promise.reject(new LatentmeshError("internal", "A worker in this process has no links"));

/** One that reaches nobody: a rank that is alone needs nobody. */
const NO_TRANSPORT: Transport = { elsewhere: null, listen: NOBODY, connect: NOBODY };

/** A device in this process, and what it is to compute. */
export class LocalWorker {
  /** Resolves with the reason when the device is gone. */
  readonly lost: Promise<LatentmeshError>;
  /** What the device is, as workers say it of theirs. */
  readonly device: Hello["device"];
  /** Why it was taken. */
  readonly reason: string;
  /** Bytes that the device had left before anything was loaded; null where that cannot be told. */
  readonly freeBytes: number | null;
  readonly #device: Device;
  readonly #options: LocalWorkerOptions;
  readonly #clock: LoadClock;
  readonly #others = new WayGiver();
  #loading: Promise<LoadedRank> | null = null;
  #rank: AssignedRank | null = null;
  #closed = false;

  private constructor(
    options: LocalWorkerOptions,
    opened: Pick<LocalWorker, "device" | "reason" | "freeBytes">,
    parts: { readonly device: Device; readonly clock: LoadClock },
  ) {
    this.device = opened.device;
    this.reason = opened.reason;
    this.freeBytes = opened.freeBytes;
    this.lost = parts.device.lost;
    this.#device = parts.device;
    this.#options = options;
    this.#clock = parts.clock;
  }

  /** Opens the device. @throws {LatentmeshError} `device_unavailable` */
  static async open(options: LocalWorkerOptions): Promise<LocalWorker> {
    const clock = new LoadClock();
    // What is free is known before weights take any of it.
    const [{ device, reason, advice }, freeBytes] = await clock.time("open", () =>
      together([
        openDevice(options.device, { dawn: options.dawn, ...options.tuning }),
        isHostChoice(options.device) ? Promise.resolve(null) : freeMemoryIfKnown("any"),
      ]));
    const { kind, description, limits: { maxBindingBytes } } = device;
    return new LocalWorker(options, { device: { kind, description, maxBindingBytes, advice }, reason, freeBytes }, { device, clock });
  }

  /** Where the time of loading went. */
  get loadTimes(): LoadTimes {
    return this.#clock.times;
  }

  /** Answers what a coordinator would ask. @throws {LatentmeshError} */
  async answer(request: Request, payload: Uint8Array<ArrayBuffer>): Promise<Answer> {
    if (request.kind === "assign") return await this.#assign(request.assignment);
    if (this.#rank === null || request.kind === "digest") throw new LatentmeshError("protocol", `This worker cannot be asked to ${request.kind}`);
    const rank = this.#rank;
    const work = async () => {
      // What was asked for on behalf of somebody who has left meanwhile would start threads that nobody stops.
      if (this.#closed) throw new LatentmeshError("cancelled", "This worker is closed");
      return await rank.answer(request, payload, () => {});
    };
    // On a CPU a step takes no turn of the event loop: everybody else gets theirs before it.
    return await (isHost(this.device.kind) && COMPUTES.has(request.kind) ? this.#others.run(work) : work());
  }

  /** Waits for what runs, then frees the device. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#loading?.catch(() => {});
    await this.#rank?.leave();
    await this.#device.close();
  }

  async #assign(assignment: Assignment): Promise<Answer> {
    const { onProgress = () => {}, worker } = this.#options;
    this.#loading = loadRank(this.#device, this.#options, assignment, { clock: this.#clock, onProgress });
    const rank = await this.#loading;
    this.#rank = new AssignedRank(rank, { worker, transport: NO_TRANSPORT, sumThread: null, onTrouble() {} });
    const { weightBytes, cacheBytesPerToken } = rank;
    return { kind: "assigned", weightBytes, cacheBytesPerToken, times: this.#clock.times };
  }
}
