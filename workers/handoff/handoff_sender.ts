/**
 * The prefill side of the handoff: while layers of a chunk are computed, every decode rank is sent its columns, or tokens, of those before, worker to worker. As many layers
 * travel together as make a frame worth while, or parts of one that is larger. Several frames are on their way back from the device and to the ranks, so that
 * neither the device nor the links wait for the other.
 *
 * Copies: device → host (readback), host → shared memory; or, where what comes back becomes frames, host → socket.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { ceilDiv } from "../../core/numeric.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import type { PeerFrameOf } from "../../core/wire/messages.ts";
import type { OnProgress } from "../../core/wire/rpc.ts";
import { sentWidth } from "../../kernels/latent_cache/layout.ts";
import { type Cut, LatentExporter, mostTokenBytes, type Span } from "./latent_exporter.ts";
import { type HandoffTarget, Outgoing, type OutgoingOptions } from "./handoff_target.ts";
import type { Model } from "../forward/model.ts";

/** Sizes of what is on its way; tests have smaller ones. */
export interface HandoffSizes {
  /** Bytes for all ranks that are cut out together: a few milliseconds of a link. */
  readonly cutBytes: number;
  /** Cuts on their way back from the device. */
  readonly cuts: number;
  /** Bytes that one rank may leave unacknowledged before prefill waits for it: what a link carries while both ends do something else. */
  readonly windowBytes: number;
}

const SIZES: HandoffSizes = { cutBytes: 4 << 20, cuts: 6, windowBytes: 64 << 20 };

/** Milliseconds between signs of life while prefill waits for a rank. */
const SIGN_INTERVAL = 250;

/** What handoffs have cost so far. */
export interface HandoffCounters {
  /** Latents, rotated keys and index keys, without framing. */
  bytes: number;
  frameBytes: number;
  /** Milliseconds in which something was on its way. */
  busyMs: number;
  /** The part of it in which prefill stood still. */
  stallMs: number;
}

/** Prepares handoffs to one cut of decode ranks; shared by all groups that are cut alike. */
export class HandoffStage {
  readonly counters: HandoffCounters = { bytes: 0, frameBytes: 0, busyMs: 0, stallMs: 0 };
  readonly model: Model;
  readonly sizes: HandoffSizes;
  /** Most tokens, over all layers, of a cut. */
  readonly tokens: number;
  readonly #free: LatentExporter[];
  readonly #waiting: ((exporter: LatentExporter) => void)[] = [];

  private constructor(model: Model, sizes: HandoffSizes, tokens: number, exporters: readonly LatentExporter[]) {
    this.model = model;
    this.sizes = sizes;
    this.tokens = tokens;
    this.#free = [...exporters];
  }

  /** @param shapes the ranks that this worker hands to */
  static async create(model: Model, shapes: readonly RankShape[], sizes: HandoffSizes = SIZES): Promise<HandoffStage> {
    const exporters: LatentExporter[] = [];
    const { cache, limits: { prefillRows } } = model;
    const tokenBytes = mostTokenBytes(cache, shapes);
    const tokens = Math.max(1, Math.min(Math.floor(sizes.cutBytes / Math.max(1, tokenBytes)), prefillRows * cache.buffers.length));
    // A rank of a unit that has more ranks than the groups hands nothing over.
    for (let i = 0; i < sizes.cuts && shapes.length > 0; i++) exporters.push(await LatentExporter.create(model, shapes, tokens));
    return new HandoffStage(model, sizes, tokens, exporters);
  }

  /** An exporter of which nothing is on its way, if there is one. */
  takeFree(): LatentExporter | undefined {
    return this.#free.pop();
  }

  /** An exporter of which nothing is on its way, as soon as there is one. */
  async take(): Promise<LatentExporter> {
    return this.takeFree() ?? await new Promise<LatentExporter>((resolve) => this.#waiting.push(resolve));
  }

  /** Gives it back. */
  giveBack(exporter: LatentExporter): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(exporter);
    else next(exporter);
  }
}

/** One prompt on its way. */
export class Handoff {
  readonly #stage: HandoffStage;
  readonly #targets: readonly Outgoing[];
  /** Cuts that are recorded but not submitted. */
  #recording: LatentExporter | null = null;
  /** Cuts that are submitted and not sent, and the last of them, with all before it. */
  #onTheirWay = 0;
  #sent: Promise<void> = Promise.resolve();
  #failure: unknown = null;
  #busySince = 0;
  #wake: () => void = () => {};

  /** @param targets one per shape of the stage, in order */
  constructor(stage: HandoffStage, targets: readonly HandoffTarget[], options: OutgoingOptions) {
    this.#stage = stage;
    this.#targets = targets.map((target) => new Outgoing(target, options));
  }

  /** Takes in what a rank sent back. */
  receive(worker: string, frame: PeerFrameOf<"ack" | "rejected">): void {
    this.#targets.find((target) => target.worker === worker)?.receive(frame);
    if (this.#busySince !== 0 && this.#targets.every(({ unacknowledged }) => unacknowledged === 0)) this.#rest();
  }

  /** The prompt is not wanted any more, or all of it is there: what has not been sent stays here. */
  close(): void {
    const reason = new LatentmeshError("cancelled", "The prompt was closed");
    this.#failure ??= reason;
    for (const target of this.#targets) target.fail(reason);
    if (this.#recording === null) return;
    this.#recording.discard();
    this.#stage.giveBack(this.#recording);
    this.#recording = null;
  }

  /**
   * Records the cut of a layer, and submits it with those before as soon as they fill a frame.
   *
   * @throws {LatentmeshError} if a rank refused, is gone, or was silent
   */
  async layer(layer: number, { sequence, start, count }: Span, onProgress: OnProgress = () => {}): Promise<void> {
    if (this.#targets.length === 0) return;
    this.#check();
    const parts = ceilDiv(count, this.#stage.tokens);
    for (let part = 0, begin = 0; part < parts; part++) {
      const end = Math.floor(count * (part + 1) / parts);
      const span = { sequence, start: start + begin, count: end - begin };
      if (this.#recording?.takes(layer, span) === false) this.submit(onProgress);
      this.#recording ??= await this.#exporter(onProgress);
      this.#recording.record(layer, span);
      if (this.#recording.full) this.submit(onProgress);
      begin = end;
    }
  }

  /** Submits what is recorded. */
  submit(onProgress: OnProgress = () => {}): void {
    const exporter = this.#recording;
    if (exporter === null) return;
    this.#recording = null;
    const take = exporter.read();
    this.#stage.model.device.submit();
    this.#onTheirWay++;
    const before = this.#sent;
    this.#sent = (async () => {
      try {
        const cut = await take();
        await before;
        if (this.#failure !== null) return;
        onProgress();
        await this.#send(cut, onProgress);
      } catch (error) {
        this.#failure ??= error;
      } finally {
        this.#stage.giveBack(exporter);
        this.#onTheirWay--;
        this.#wake();
      }
    })();
  }

  /** Resolves when all but so many cuts are sent. @throws {LatentmeshError} as {@link layer} */
  async sent(allBut: number): Promise<void> {
    while (this.#onTheirWay > allBut) await new Promise<void>((resolve) => this.#wake = resolve);
    this.#check();
  }

  /** Resolves when every rank has acknowledged everything. @throws {LatentmeshError} as {@link layer} */
  async finish(onProgress: OnProgress = () => {}): Promise<void> {
    this.submit(onProgress);
    await this.#sent;
    this.#check();
    await withSigns(Promise.all(this.#targets.map((target) => target.acknowledged())), onProgress);
    if (this.#busySince !== 0) this.#rest();
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  async #exporter(onProgress: OnProgress): Promise<LatentExporter> {
    const exporter = this.#stage.takeFree() ?? await this.#stalled(onProgress);
    if (this.#failure === null) return exporter;
    this.#stage.giveBack(exporter);
    throw this.#failure;
  }

  async #send(
    { firstLayer, layers, memory, parts, configs }: Cut,
    onProgress: OnProgress,
  ): Promise<void> {
    const { counters, sizes: { windowBytes } } = this.#stage;
    for (const [i, target] of this.#targets.entries()) {
      const config = configs[i];
      const { bytes, range: [begin, end] } = parts[i];
      if (bytes === 0) continue;
      while (!target.hasRoom(bytes, windowBytes)) await withSigns(target.tookIn(), onProgress);
      if (this.#busySince === 0) this.#busySince = performance.now();
      counters.bytes += bytes;
      counters.frameBytes += target.send(
        {
          layers: [firstLayer, firstLayer + layers],
          range: [begin, end],
          dtype: config.dtype,
          shape: [layers, end - begin, sentWidth(config)],
          byteLength: bytes,
        },
        memory,
        parts[i],
      );
    }
  }

  async #stalled(onProgress: OnProgress): Promise<LatentExporter> {
    const started = performance.now();
    try {
      return await withSigns(this.#stage.take(), onProgress);
    } finally {
      this.#stage.counters.stallMs += performance.now() - started;
    }
  }

  #rest(): void {
    this.#stage.counters.busyMs += performance.now() - this.#busySince;
    this.#busySince = 0;
  }
}

/** While it waits for ranks, this worker says that it does not stand still by itself: one that is silent is given up here, by name. */
async function withSigns<T>(wait: Promise<T>, onProgress: OnProgress): Promise<T> {
  const signs = setInterval(onProgress, SIGN_INTERVAL);
  try {
    return await wait;
  } finally {
    clearInterval(signs);
  }
}
