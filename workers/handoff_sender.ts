/**
 * The prefill side of the handoff: after each layer of each chunk, every decode rank is sent its columns, worker to worker, while the next layer is computed.
 *
 * Copies: device → host (readback), host → frame, frame → socket.
 *
 * @module
 */
import { LatentmeshError } from "../core/errors.ts";
import type { RankShape } from "../core/tpla/partition.ts";
import type { Link } from "../core/wire/link.ts";
import { type PeerFrame, type PeerFrameOf } from "../core/wire/messages.ts";
import { cacheTokenBytes, cacheWidth } from "../kernels/latent_cache/layout.ts";
import { LatentExporter, type Span } from "./handoff.ts";
import type { Model } from "./model.ts";

/** Bytes that may be on their way to one rank before prefill waits for it. */
const WINDOW_BYTES = 8 << 20;

/** What handoffs have cost so far. */
export interface HandoffCounters {
  /** Latents and rotated keys, without framing. */
  bytes: number;
  frameBytes: number;
  /** Milliseconds in which something was on its way. */
  busyMs: number;
  /** The part of it in which prefill stood still. */
  stallMs: number;
}

/** A decode rank that prompts are handed to. */
export interface HandoffTarget {
  readonly worker: string;
  readonly link: Link;
  readonly shape: RankShape;
}

/** Prepares handoffs to one cut of decode ranks; shared by all groups that are cut alike. */
export class HandoffStage {
  readonly counters: HandoffCounters = { bytes: 0, frameBytes: 0, busyMs: 0, stallMs: 0 };
  readonly model: Model;
  readonly #exporters: readonly LatentExporter[];
  #next = 0;

  private constructor(model: Model, exporters: readonly LatentExporter[]) {
    this.model = model;
    this.#exporters = exporters;
  }

  /** @param shapes the ranks that this worker hands to */
  static async create(model: Model, shapes: readonly RankShape[]): Promise<HandoffStage> {
    const exporter = () => LatentExporter.create(model, shapes, model.limits.prefillRows);
    // Two, so that one layer is read back while the next is recorded.
    return new HandoffStage(model, [await exporter(), await exporter()]);
  }

  /** The exporter whose turn it is. */
  nextExporter(): LatentExporter {
    return this.#exporters[this.#next++ % 2];
  }
}

/** One prompt on its way. */
export class Handoff {
  readonly #stage: HandoffStage;
  readonly #targets: readonly Outgoing[];
  /** The layer that is recorded but not sent. */
  #pending: (() => Promise<void>) | null = null;
  #busySince = 0;

  /** @param targets one per shape of the stage, in order */
  constructor(stage: HandoffStage, targets: readonly HandoffTarget[], options: { readonly epoch: number; readonly sequence: number }) {
    this.#stage = stage;
    const { epoch, sequence } = options;
    this.#targets = targets.map((target) => new Outgoing(target, { epoch, sequence }));
  }

  /** Takes in what a rank sent back. */
  receive(worker: string, frame: PeerFrameOf<"ack" | "rejected">): void {
    this.#targets.find((target) => target.worker === worker)?.receive(frame);
    if (this.#busySince !== 0 && this.#targets.every(({ unacknowledged }) => unacknowledged === 0)) this.#rest();
  }

  /** Records and submits a layer's cut, then sends the layer before it: while that is written, the device has work. */
  async layer(layer: number, span: Span): Promise<void> {
    const { model } = this.#stage;
    const exporter = this.#stage.nextExporter();
    exporter.record(layer, span);
    model.device.submit();
    const before = this.#pending;
    this.#pending = async () => await this.#send(layer, span, await exporter.take(span.count), exporter);
    await before?.();
  }

  /** Sends what is left of a chunk. */
  async flush(): Promise<void> {
    const pending = this.#pending;
    this.#pending = null;
    await pending?.();
  }

  /** Resolves when every rank has acknowledged everything. @throws {LatentmeshError} if one refused or is gone */
  async finish(): Promise<void> {
    await this.flush();
    await this.#stalled(Promise.all(this.#targets.map((target) => target.room(0))));
    if (this.#busySince !== 0) this.#rest();
  }

  async #send(layer: number, { start, count }: Span, parts: readonly Uint8Array<ArrayBuffer>[], { configs }: LatentExporter): Promise<void> {
    const { counters } = this.#stage;
    for (const [i, target] of this.#targets.entries()) {
      const config = configs[i];
      if (target.unacknowledged + parts[i].byteLength > WINDOW_BYTES) await this.#stalled(target.room(WINDOW_BYTES - parts[i].byteLength));
      if (this.#busySince === 0) this.#busySince = performance.now();
      counters.bytes += count * cacheTokenBytes(config);
      counters.frameBytes += target.send({
        layer,
        range: [start, start + count],
        dtype: config.dtype,
        shape: [count, cacheWidth(config)],
        byteLength: parts[i].byteLength,
      }, parts[i]);
    }
  }

  async #stalled(wait: Promise<unknown>): Promise<void> {
    const started = performance.now();
    try {
      await wait;
    } finally {
      this.#stage.counters.stallMs += performance.now() - started;
    }
  }

  #rest(): void {
    this.#stage.counters.busyMs += performance.now() - this.#busySince;
    this.#busySince = 0;
  }
}

/** What is on its way to one rank. */
class Outgoing {
  readonly worker: string;
  unacknowledged = 0;
  readonly #link: Link;
  readonly #options: { readonly epoch: number; readonly sequence: number };
  #failure: LatentmeshError | null = null;
  #waiting: { readonly most: number; readonly resolvers: PromiseWithResolvers<void> } | null = null;

  constructor({ worker, link }: HandoffTarget, options: { readonly epoch: number; readonly sequence: number }) {
    this.worker = worker;
    this.#link = link;
    this.#options = options;
    link.closed.then((reason) => this.#fail(new LatentmeshError("worker_lost", `Decode worker ${worker} is gone: ${reason.message}`)));
  }

  send(header: Omit<PeerFrameOf<"latents">, "kind" | "epoch" | "sequence">, payload: Uint8Array<ArrayBuffer>): number {
    const { sentBytes } = this.#link.counters;
    this.unacknowledged += payload.byteLength;
    this.#link.send({ kind: "latents", ...this.#options, ...header } satisfies PeerFrame, payload);
    return this.#link.counters.sentBytes - sentBytes;
  }

  receive(frame: PeerFrameOf<"ack" | "rejected">): void {
    if (frame.epoch !== this.#options.epoch || frame.sequence !== this.#options.sequence) return;
    if (frame.kind === "rejected") {
      return this.#fail(new LatentmeshError("protocol", `Decode worker ${this.worker} refused latents: ${frame.message}`));
    }
    this.unacknowledged -= frame.bytes;
    if (this.#waiting !== null && this.unacknowledged <= this.#waiting.most) {
      this.#waiting.resolvers.resolve();
      this.#waiting = null;
    }
  }

  /** Resolves when at most `most` bytes are on their way. */
  async room(most: number): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    if (this.unacknowledged <= most) return;
    const resolvers = Promise.withResolvers<void>();
    this.#waiting = { most, resolvers };
    await resolvers.promise;
  }

  #fail(reason: LatentmeshError): void {
    this.#failure ??= reason;
    this.#waiting?.resolvers.reject(this.#failure);
    this.#waiting = null;
  }
}
