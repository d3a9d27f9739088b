/**
 * A worker process of a cluster: joins its coordinator, loads what it is assigned, and answers requests until the coordinator is gone.
 *
 * @module
 */
import { invariant, LatentmeshError, messageOf } from "../core/errors.ts";
import { acceptLink, connectLink, type Link } from "../core/wire/link.ts";
import type { Assignment, Notice, Request, RequestOf } from "../core/wire/messages.ts";
import type { WorkerStats } from "../core/wire/stats.ts";
import { type Answers, decodePrompt, decodeStep, encodeAnswers } from "../core/wire/queries.ts";
import { type Answer, type OnProgress, serveRequests } from "../core/wire/rpc.ts";
import { type Listener, type Socket, sumsAddress, type Transport } from "../core/wire/transport.ts";
import { Turns } from "../core/turns.ts";
import type { Device } from "../kernels/device.ts";
import { type DeviceChoice, openDevice, type OpenedDevice } from "../kernels/providers.ts";
import { hasSpareProcessors } from "./collective/spare_processors.ts";
import type { DecodeRank } from "./decode.ts";
import { digestFiles } from "./digest_files.ts";
import type { HandoffTarget } from "./handoff_target.ts";
import { type FileHashes, hashFiles, type LoadedRank, loadRank, type ModelPaths } from "./load_rank.ts";
import { LoadClock } from "./load_clock.ts";
import { Membership } from "./membership.ts";
import type { SumThreadPlace } from "./unit_epoch.ts";
import type { PrefillRank } from "./prefill.ts";

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
  /** Whether passes are timed on the device. */
  readonly deviceTimes?: boolean;
}

/** Milliseconds between two times that the coordinator is told of who was turned away. */
const TROUBLE_INTERVAL = 1000;

/** As few as make whole words, in f16 too. */
const PROBE_VALUES = 2;

/** A loaded rank with its links. */
interface Loaded extends LoadedRank {
  readonly membership: Membership;
}

/** One worker of a cluster. */
export class ClusterWorker {
  /** Resolves with the reason when the coordinator is gone. */
  readonly closed: Promise<LatentmeshError>;
  readonly #options: JoinOptions;
  readonly #transport: Transport;
  readonly #device: Device;
  /** What would make more of this machine. */
  readonly #advice: string | undefined;
  readonly #hashes: FileHashes;
  readonly #coordinator: Link;
  #listener: Listener | null = null;
  #loaded: Loaded | null = null;
  /** Steps and prompts, one after the other. */
  readonly #turns = new Turns();
  readonly #clock: LoadClock;
  /** Decode groups that prompts can be handed to. */
  readonly #groups = new Map<string, { readonly epoch: number; readonly targets: readonly HandoffTarget[] }>();
  #computeMs = 0;
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
  }

  /** Opens the device, listens, joins, and says hello. @throws {LatentmeshError} */
  static async join(options: JoinOptions, transport: Transport): Promise<ClusterWorker> {
    const clock = new LoadClock();
    const hashes = await clock.time("files", () => hashFiles(options));
    const { device, advice } = await clock.time("open", () => openDevice(options.device, { dawn: options.dawn, times: options.deviceTimes }));
    try {
      const socket = await transport.connect(options.coordinator);
      const coordinator = await connectLink(socket, { worker: options.worker, role: "worker" }, options.token);
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
    this.#loaded?.membership.leave();
    await this.#turns.idle();
    await this.#listener?.close();
    await this.#device.close();
  }

  async #open(): Promise<void> {
    const { host, listen } = this.#options;
    this.#listener = await this.#transport.listen(listen, (socket) => this.#accept(socket));
    serveRequests(this.#coordinator, (request, payload, onProgress) => this.#answer(request, payload, onProgress));
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
    if (this.#loaded !== null || error.code === "device_lost") this.#coordinator.close(error);
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
      const link = await acceptLink(socket, (identity) => this.#loaded?.membership.secretOf(identity) ?? null);
      this.#loaded!.membership.accept(link);
    } catch (error) {
      // Strangers may knock as often as they like; one of them in a while is worth telling.
      const now = performance.now();
      if (now < this.#nextTrouble) return;
      this.#nextTrouble = now + TROUBLE_INTERVAL;
      this.#tell({ kind: "trouble", epoch: this.#loaded?.membership.epoch ?? 0, message: messageOf(error), silent: null });
    }
  }

  async #answer(request: Request, payload: Uint8Array<ArrayBuffer>, onProgress: OnProgress): Promise<Answer> {
    switch (request.kind) {
      case "assign":
        return await this.#turns.take(() => this.#assign(request.assignment));
      case "join":
        // Aborts a step that waits for a rank which is gone; only then is it this request's turn.
        this.#unit().membership.join(request);
        return { kind: "done" };
      case "connect":
        return await this.#connect(request);
      case "feed":
        this.#current(request.epoch).membership.expect(request.feeder);
        return { kind: "done" };
      case "attach":
        await this.#attach(request);
        return { kind: "done" };
      case "open":
        this.#decode(request.epoch).open(request);
        return { kind: "done" };
      case "close":
        this.#closeSequences(request);
        return { kind: "done" };
      case "prefill":
        return await this.#turns.take(() => this.#prefill(request, payload, onProgress));
      case "handed":
        await this.#prefillRank(request.epoch).handed(request.sequence, onProgress);
        return { kind: "done" };
      case "step":
        return await this.#turns.take(() => this.#step(request, payload));
      case "tables":
        this.#roleOf(request.epoch).tables(request, payload);
        return { kind: "done" };
      case "row":
        return await this.#turns.take(async () => ({ kind: "row", payload: await this.#row(request) }));
      case "probe":
        return await this.#turns.take(() => this.#probe(request.epoch));
      case "stats":
        return { kind: "stats", stats: this.#stats() };
      case "digest":
        return { kind: "digests", payload: await digestFiles(this.#options.model, () => this.#coordinator.open) };
      default:
        return request satisfies never;
    }
  }

  async #assign(assignment: Assignment): Promise<Answer> {
    invariant(this.#loaded === null, "a worker is assigned once");
    const { weightBytes, cacheBytesPerToken } = this.#loaded = await this.#load(assignment);
    return { kind: "assigned", weightBytes, cacheBytesPerToken, times: this.#clock.times };
  }

  async #load(assignment: Assignment): Promise<Loaded> {
    const rank = await loadRank(this.#device, this.#options, assignment, {
      clock: this.#clock,
      onProgress: (progress) => this.#tell({ kind: "progress", ...progress }),
    });
    const identity = { worker: this.#options.worker, role: assignment.role, rank: assignment.rank, ranks: assignment.cut.ranks };
    const { decodeRows, prefillRows } = assignment.limits;
    const sumValues = Math.max(decodeRows, prefillRows) * rank.model.spec.hiddenSize;
    const options = { ...assignment, sumValues, sumThread: this.#sumThread() };
    const membership = new Membership(identity, this.#transport, options, (frame, payload, link) => {
      if (rank.role.kind === "decode") rank.role.decode.receive(frame, payload, link, membership.epoch);
      else rank.role.prefill.receive(this.#workerOf(link), frame);
    }, (other, reason) => {
      // A worker that is gone is known to whoever lost it; one that broke protocol is not.
      if (reason.code !== "protocol") return;
      const message = `the link with ${other} ended: ${reason.message}`;
      this.#tell({ kind: "trouble", epoch: membership.epoch, message, silent: null });
    });
    return { ...rank, membership };
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

  async #connect({ epoch }: RequestOf<"connect">): Promise<Answer> {
    const { membership, role } = this.#current(epoch);
    const collectives = await membership.connect();
    await this.#turns.take(() => role.kind === "decode" ? role.decode.reset(collectives) : role.prefill.reset(collectives[0]));
    return { kind: "connected", by: collectives[0].by, notShared: shorten(membership.notShared), notThreaded: shorten(membership.notThreaded) };
  }

  /** Links to the decode ranks that this rank of the prefill unit hands to. */
  async #attach({ group, epoch, ranks }: RequestOf<"attach">): Promise<void> {
    const { assignment: { cut, rank }, membership, decodeShapes } = this.#unit();
    for (const { link } of this.#groups.get(group)?.targets ?? []) link.close();
    const targets: HandoffTarget[] = [];
    for (const peer of ranks.filter((peer) => peer.rank % cut.ranks === rank)) {
      targets.push({ worker: peer.worker, link: await membership.attach(peer), shape: decodeShapes[peer.rank] });
    }
    this.#groups.set(group, { epoch, targets });
  }

  async #prefill(request: Extract<Request, { kind: "prefill" }>, payload: Uint8Array<ArrayBuffer>, onProgress: OnProgress): Promise<Answer> {
    const prefill = this.#prefillRank(request.epoch);
    const { begin } = request;
    const target = begin === null || begin.target === null ? null : { ...begin.target, ranks: this.#ranksOf(begin.target) };
    const piece = {
      ...request,
      ...decodePrompt(payload, request.tokens, request.asks),
      begin: begin === null ? null : { blocks: begin.blocks, target },
    };
    // A long prompt has too many sums to tell of each.
    return await this.#timed(() => prefill.run(piece, onProgress), () => []);
  }

  #ranksOf({ group, epoch }: { readonly group: string; readonly epoch: number }): readonly HandoffTarget[] {
    const known = this.#groups.get(group);
    if (known?.epoch !== epoch) throw new LatentmeshError("protocol", `Epoch ${epoch} of ${group} is not the one this worker is attached to`);
    return known.targets;
  }

  async #step(request: Extract<Request, { kind: "step" }>, payload: Uint8Array<ArrayBuffer>): Promise<Answer> {
    const decode = this.#decode(request.epoch);
    const { rows, queries } = decodeStep(payload, request.rows, request.asks);
    return await this.#timed(async () => ({ answers: await decode.step(rows, queries, request), prompt: [] }), (waits) => waits);
  }

  #closeSequences({ epoch, sequences }: RequestOf<"close">): void {
    const role = this.#roleOf(epoch);
    for (const sequence of sequences) role.close(sequence);
  }

  /** Does some work and says how long it took. @param told what is told of how long each sum took */
  async #timed(work: () => Promise<Answers>, told: (waitsMs: number[]) => number[]): Promise<Answer> {
    const { membership, model: { clock }, role } = this.#unit();
    const takeWaits = () => membership.collectives.flatMap((collective) => collective.takeWaits());
    takeWaits();
    clock.begin(role.kind);
    const started = performance.now();
    const answers = await work();
    const totalMs = performance.now() - started;
    await clock.end();
    const waitsMs = takeWaits();
    // Where lanes run side by side, one computes while another waits.
    this.#computeMs += Math.max(0, totalMs - waitsMs.reduce((sum, wait) => sum + wait, 0) / membership.collectives.length);
    const times = { totalMs, waitsMs: told(waitsMs) };
    return { kind: "candidates", sums: times.waitsMs.length, payload: encodeAnswers(answers, times) };
  }

  async #row({ epoch, index }: RequestOf<"row">): Promise<Float32Array<ArrayBuffer>> {
    return await this.#roleOf(epoch).row(index);
  }

  /** An exchange of next to nothing: the unit answers only if all of it does. */
  async #probe(epoch: number): Promise<Answer> {
    const [collective] = this.#current(epoch).membership.collectives;
    collective.input(PROBE_VALUES).fill(0);
    await collective.exchange(PROBE_VALUES);
    return { kind: "done" };
  }

  #stats(): WorkerStats {
    const { membership, model, role, weightBytes, cacheBytesPerToken } = this.#unit();
    const { sent, received } = membership.traffic;
    const handoff = role.kind === "prefill" ? role.prefill.handoff : { bytes: 0, frameBytes: 0, busyMs: 0, stallMs: 0 };
    return {
      collectives: membership.exchanges,
      exchangeMs: membership.exchangeMs,
      computeMs: this.#computeMs,
      sentBytes: sent,
      receivedBytes: received,
      handoffBytes: handoff.bytes,
      handoffFrameBytes: handoff.frameBytes,
      handoffBusyMs: handoff.busyMs,
      handoffStallMs: handoff.stallMs,
      freeBlocks: model.cache.allocator.free,
      sequences: model.cache.sequences,
      cacheBytesPerToken,
      weightBytes,
      parts: model.clock.totals[role.kind],
    };
  }

  #unit(): Loaded {
    if (this.#loaded === null) throw new LatentmeshError("protocol", "This worker has not been assigned yet");
    return this.#loaded;
  }

  /** The unit, if `epoch` is its current one. */
  #current(epoch: number): Loaded {
    const unit = this.#unit();
    unit.membership.checkEpoch(epoch);
    return unit;
  }

  #roleOf(epoch: number): DecodeRank | PrefillRank {
    const { role } = this.#current(epoch);
    return role.kind === "prefill" ? role.prefill : role.decode;
  }

  #decode(epoch: number): DecodeRank {
    const { role } = this.#current(epoch);
    if (role.kind !== "decode") throw new LatentmeshError("protocol", "A prefill rank was asked to decode");
    return role.decode;
  }

  #prefillRank(epoch: number): PrefillRank {
    const { role } = this.#current(epoch);
    if (role.kind !== "prefill") throw new LatentmeshError("protocol", "A decode rank was asked to prefill");
    return role.prefill;
  }

  #workerOf(link: Link): string {
    for (const { targets } of this.#groups.values()) {
      for (const target of targets) if (target.link === link) return target.worker;
    }
    return "";
  }
}

/** As much of a reason as travels. */
function shorten(reason: string | null): string | null {
  return reason?.slice(0, 1024) ?? null;
}

/** The address listened on, under a host name that others can reach. */
function advertised(address: string, host: string): string {
  const url = new URL(address);
  return `${url.protocol}//${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${url.port}`;
}
