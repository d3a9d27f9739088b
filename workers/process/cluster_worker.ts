/**
 * A worker process of a cluster: joins its coordinator, loads what it is assigned, and answers requests until the coordinator is gone.
 *
 * @module
 */
import type { DeviceTuning } from "../../core/device_kind.ts";
import { invariant, LatentmeshError, messageOf } from "../../core/errors.ts";
import { acceptLink, connectLink, type Link } from "../../core/wire/link.ts";
import type { Assignment, Notice, Request } from "../../core/wire/messages.ts";
import { type Answer, type OnProgress, serveRequests } from "../../core/wire/rpc.ts";
import { type Listener, type Socket, sumsAddress, type Transport } from "../../core/wire/transport.ts";
import type { Device } from "../../kernels/device/device.ts";
import { type DeviceChoice, openDevice, type OpenedDevice } from "../../kernels/device/providers.ts";
import { AssignedRank } from "./assigned_rank.ts";
import { joinProblem } from "./join_problem.ts";
import { hasSpareProcessors } from "../collective/spare_processors.ts";
import { digestFiles } from "./digest_files.ts";
import { type FileHashes, hashFiles, type LoadedRank, loadRank, type ModelPaths } from "./load_rank.ts";
import { LoadClock } from "../load/load_clock.ts";
import type { SumThreadPlace } from "./unit_epoch.ts";

/** What a worker must know to join. */
export interface JoinOptions extends ModelPaths {
  /** Name of this worker in the cluster. */
  readonly worker: string;
  /** Where the coordinator listens. */
  readonly coordinator: string;
  /** Shared with the coordinator. */
  readonly token: Uint8Array<ArrayBuffer>;
  /** Where this worker listens for its peers. */
  readonly listen: string;
  /** Address that peers are told instead, where the one listened on cannot be reached from outside. */
  readonly advertise?: string;
  /** Name of this machine. */
  readonly host: string;
  readonly device: DeviceChoice;
  readonly dawn?: string;
  readonly tuning?: DeviceTuning;
}

/** Milliseconds between two times that the coordinator is told of who was turned away. */
const TROUBLE_INTERVAL = 1000;

/** One worker of a cluster. */
export class ClusterWorker {
  /** Resolves with the reason when the coordinator is gone. */
  readonly closed: Promise<LatentmeshError>;
  /** Resolves when the coordinator, which may turn away whom it has no place for, has asked for something. */
  readonly welcomed: Promise<void>;
  #welcome: () => void;
  readonly #options: JoinOptions;
  readonly #transport: Transport;
  readonly #device: Device;
  /** What would make more of this machine. */
  readonly #advice: string | undefined;
  readonly #hashes: FileHashes;
  readonly #coordinator: Link;
  #listener: Listener | null = null;
  #loading: Promise<LoadedRank> | null = null;
  #rank: AssignedRank | null = null;
  readonly #clock: LoadClock;
  /** When who was turned away is told of again, in milliseconds. */
  #nextTrouble = 0;

  private constructor(
    options: JoinOptions,
    parts: Pick<OpenedDevice, "device" | "advice"> & {
      readonly transport: Transport;
      readonly hashes: FileHashes;
      readonly coordinator: Link;
      readonly clock: LoadClock;
    },
  ) {
    this.#options = options;
    this.#transport = parts.transport;
    this.#device = parts.device;
    this.#advice = parts.advice;
    this.#hashes = parts.hashes;
    this.#coordinator = parts.coordinator;
    this.#clock = parts.clock;
    this.closed = parts.coordinator.closed;
    ({ promise: this.welcomed, resolve: this.#welcome } = Promise.withResolvers<void>());
  }

  /** Opens the device, listens, joins, and says hello. @throws {LatentmeshError} */
  static async join(options: JoinOptions, transport: Transport): Promise<ClusterWorker> {
    const clock = new LoadClock();
    const hashes = await clock.time("files", () => hashFiles(options));
    const { device, advice } = await clock.time("open", () => openDevice(options.device, { dawn: options.dawn, ...options.tuning }));
    try {
      const coordinator = await linkCoordinator(options, transport);
      const worker = new ClusterWorker(options, { transport, device, advice, hashes, coordinator, clock });
      await worker.#open();
      return worker;
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  /** Leaves the cluster and frees the device. */
  async close(): Promise<void> {
    this.#coordinator.close();
    await this.#loading?.catch(() => {});
    await this.#rank?.leave();
    await this.#listener?.close();
    await this.#device.close();
  }

  async #open(): Promise<void> {
    const { host, listen } = this.#options;
    this.#listener = await this.#transport.listen(listen, (socket) => this.#accept(socket));
    serveRequests(this.#coordinator, (request, payload, onProgress) => {
      this.#welcome();
      return this.#answer(request, payload, onProgress);
    });
    this.#device.lost.then((error) => this.#deviceLost(error));
    const { kind, description, limits: { maxBindingBytes } } = this.#device;
    this.#tell({
      kind: "hello",
      host,
      pid: Deno.pid,
      address: this.#advertised(this.#listener.address),
      device: { kind, description: description.slice(0, 256), maxBindingBytes, advice: this.#advice },
      modelHash: this.#hashes.model,
      basisHash: this.#hashes.basis,
    });
  }

  /** A worker without a device is of no use to anybody; what the device refused while loading, such as memory, is the answer to `assign`. */
  #deviceLost(error: LatentmeshError): void {
    if (this.#rank !== null || error.code === "device_lost") this.#coordinator.close(error);
  }

  /** An address that this worker listens on, as others reach it. */
  #advertised(address: string): string {
    const { advertise } = this.#options;
    return advertise === undefined ? address : advertised(address, advertise);
  }

  #tell(notice: Notice): void {
    this.#coordinator.send(notice);
  }

  async #accept(socket: Socket): Promise<void> {
    try {
      const link = await acceptLink(socket, (identity) => this.#rank?.membership.secretOf(identity) ?? null);
      this.#rank!.membership.accept(link);
    } catch (error) {
      // Strangers may knock as often as they like; one of them in a while is worth telling.
      const now = performance.now();
      if (now < this.#nextTrouble) return;
      this.#nextTrouble = now + TROUBLE_INTERVAL;
      this.#tell({ kind: "trouble", epoch: this.#rank?.membership.epoch ?? 0, message: messageOf(error), silent: null });
    }
  }

  async #answer(request: Request, payload: Uint8Array<ArrayBuffer>, onProgress: OnProgress): Promise<Answer> {
    if (request.kind === "assign") return await this.#assign(request.assignment);
    if (request.kind === "digest") {
      return { kind: "digests", payload: await digestFiles(this.#options.model, () => this.#coordinator.open) };
    }
    if (this.#rank === null) throw new LatentmeshError("protocol", "This worker has not been assigned yet");
    return await this.#rank.answer(request, payload, onProgress);
  }

  async #assign(assignment: Assignment): Promise<Answer> {
    invariant(this.#loading === null, "a worker is assigned once");
    const { weightBytes, cacheBytesPerToken } = await (this.#loading = this.#load(assignment));
    return { kind: "assigned", weightBytes, cacheBytesPerToken, times: this.#clock.times };
  }

  async #load(assignment: Assignment): Promise<LoadedRank> {
    const rank = await loadRank(this.#device, this.#options, assignment, {
      clock: this.#clock,
      onProgress: (progress) => this.#tell({ kind: "progress", ...progress }),
    });
    this.#rank = new AssignedRank(rank, {
      worker: this.#options.worker,
      transport: this.#transport,
      sumThread: this.#sumThread(),
      onTrouble: (epoch, message) => this.#tell({ kind: "trouble", epoch, message, silent: null }),
    });
    return rank;
  }

  /** Where a thread of this worker's own meets those of its unit's other ranks. */
  #sumThread(): SumThreadPlace | null {
    const { elsewhere } = this.#transport;
    if (elsewhere === null) return null;
    return {
      listen: sumsAddress(this.#options.listen),
      advertise: (address) => this.#advertised(address),
      tls: elsewhere,
      spare: hasSpareProcessors(),
    };
  }
}

/** @throws {LatentmeshError} `unauthorized` if no new attempt would fare better */
async function linkCoordinator({ coordinator, worker, token }: JoinOptions, transport: Transport): Promise<Link> {
  try {
    return await connectLink(await transport.connect(coordinator), { worker, role: "worker" }, token);
  } catch (error) {
    throw coordinator.startsWith("unix:") ? error : await joinProblem(error, coordinator);
  }
}

/** The address listened on, under a host name that others can reach. */
function advertised(address: string, host: string): string {
  const url = new URL(address);
  return `${url.protocol}//${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${url.port}`;
}
