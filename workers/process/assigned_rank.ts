/**
 * A rank that knows what it is to be: answers what a coordinator asks of it, over a link or in the same process, one chunk or step after the other.
 *
 * @module
 */
import { keptTokens } from "../../core/cache/token_share.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { SerialQueue } from "../../core/serial_queue.ts";
import type { Link } from "../../core/wire/link.ts";
import type { Request, RequestOf } from "../../core/wire/messages.ts";
import { type Answers, decodePrompt, decodeStep, encodeAnswers } from "../../core/wire/queries.ts";
import type { Answer, OnProgress } from "../../core/wire/rpc.ts";
import type { WorkerStats } from "../../core/wire/stats.ts";
import type { Transport } from "../../core/wire/transport.ts";
import type { DecodeRank } from "../roles/decode.ts";
import type { HandoffTarget } from "../handoff/handoff_target.ts";
import type { Phase } from "../forward/linear_binding.ts";
import type { LoadedRank } from "./load_rank.ts";
import { cacheTokenBytes } from "../../kernels/latent_cache/layout.ts";
import { keptOf } from "../handoff/latent_exporter.ts";
import { exportedConfig } from "../../kernels/latent_export/kept_columns.ts";
import { ReceivingWindows, SendingWindow } from "../handoff/handoff_window.ts";
import { Membership, type OnPeerFrame } from "./membership.ts";
import type { PrefillRank } from "../roles/prefill.ts";
import type { SumThreadPlace } from "./unit_epoch.ts";

/** How a rank meets others. */
export interface RankPlace {
  /** Name of its worker. */
  readonly worker: string;
  readonly transport: Transport;
  /** How a thread of its own opens sockets for sums; null: it has none. */
  readonly sumThread: SumThreadPlace | null;
  /** Told of links that ended otherwise than by a new epoch. */
  readonly onTrouble: (epoch: number, message: string) => void;
}

/** What is asked of a rank once it is assigned. */
export type RankRequest = Exclude<Request, { kind: "assign" | "digest" }>;

/** As few as make whole words, in f16 too. */
const PROBE_VALUES = 2;

/** One rank of a unit. */
export class AssignedRank {
  readonly membership: Membership;
  readonly #rank: LoadedRank;
  /** Steps and prompts, one after the other. */
  readonly #queue = new SerialQueue();
  /** Decode groups that prompts can be handed to. */
  readonly #groups = new Map<string, { readonly epoch: number; readonly targets: readonly HandoffTarget[] }>();
  /** Memory that prefill workers hand prompts over through. */
  readonly #windows = new ReceivingWindows();
  #computeMs = 0;

  constructor(rank: LoadedRank, { worker, transport, sumThread, onTrouble }: RankPlace) {
    const { assignment, model } = rank;
    const { decodeRows, prefillRows } = assignment.limits;
    const identity = { worker, role: assignment.role, rank: assignment.rank, ranks: assignment.cut.ranks };
    const options = { ...assignment, sumValues: Math.max(decodeRows, prefillRows) * model.spec.hiddenSize, sumThread };
    this.#rank = rank;
    this.membership = new Membership(identity, transport, options, (...frame) => this.#receive(...frame), (other, reason) => {
      // A worker that is gone is known to whoever lost it; one that broke protocol is not.
      if (reason.code === "protocol") onTrouble(this.membership.epoch, `the link with ${other} ended: ${reason.message}`);
    });
  }

  /** Answers a request. @throws {LatentmeshError} */
  async answer(request: RankRequest, payload: Uint8Array<ArrayBuffer>, onProgress: OnProgress): Promise<Answer> {
    switch (request.kind) {
      case "join":
        // Aborts a step that waits for a rank which is gone; only then is it this request's turn.
        this.membership.join(request);
        return { kind: "done" };
      case "connect":
        return await this.#connect(request);
      case "feed":
        this.membership.checkEpoch(request.epoch);
        this.membership.expect(request.feeder);
        return { kind: "done" };
      case "attach":
        await this.#attach(request);
        return { kind: "done" };
      case "open":
        this.#receiving(request.epoch).open(request);
        return { kind: "done" };
      case "close":
        this.#closeSequences(request);
        return { kind: "done" };
      case "prefill":
        return await this.#queue.run(() => this.#prefill(request, payload, onProgress));
      case "handed":
        await this.#handing(request.epoch).handed(request.sequence, onProgress);
        return { kind: "done" };
      case "step":
        return await this.#queue.run(() => this.#step(request, payload));
      case "draft":
        return await this.#queue.run(() => this.#draft(request, payload));
      case "tables":
        this.#role(request.epoch).tables(request, payload);
        return { kind: "done" };
      case "row":
        return await this.#queue.run(async () => ({ kind: "row", payload: await this.#role(request.epoch).row(request.index) }));
      case "probe":
        return await this.#queue.run(() => this.#probe(request.epoch));
      case "stats":
        return { kind: "stats", stats: this.#stats() };
      default:
        return request satisfies never;
    }
  }

  /** Leaves its unit; resolves when nothing is computed any more. */
  async leave(): Promise<void> {
    this.membership.leave();
    await this.#queue.idle();
  }

  async #connect({ epoch }: RequestOf<"connect">): Promise<Answer> {
    const { membership } = this;
    membership.checkEpoch(epoch);
    const collectives = await membership.connect();
    await this.#queue.run(() => this.#rank.role.reset(collectives));
    return { kind: "connected", by: collectives[0].by, notShared: shorten(membership.notShared), notThreaded: shorten(membership.notThreaded) };
  }

  /** Links to the decode ranks that this rank of the prefill unit hands to. */
  async #attach({ group, epoch, ranks }: RequestOf<"attach">): Promise<void> {
    const { assignment: { cut, rank, exchange }, decodeShapes, model: { cache } } = this.#rank;
    for (const { link } of this.#groups.get(group)?.targets ?? []) link.close();
    const targets: HandoffTarget[] = [];
    // Those that are linked are heard while others are.
    this.#groups.set(group, { epoch, targets });
    for (const peer of ranks.filter((peer) => peer.rank % cut.ranks === rank)) {
      const link = await this.membership.attach(peer);
      const shape = decodeShapes[peer.rank];
      const kept = cache.buffers.map((_, buffer) => keptOf(cache, buffer, shape));
      const promptBytes = kept.reduce((sum, of) => sum + keptTokens(of.tokens, cache.maxContext) * cacheTokenBytes(exportedConfig(of)), 0);
      const local = peer.address.startsWith("unix:");
      const window = exchange === "websocket" || !local ? null : SendingWindow.offer(link, epoch, promptBytes);
      targets.push({ worker: peer.worker, link, shape, window });
    }
  }

  async #prefill(request: Extract<Request, { kind: "prefill" }>, payload: Uint8Array<ArrayBuffer>, onProgress: OnProgress): Promise<Answer> {
    const role = this.#role(request.epoch);
    if (role.kind === "decode") throw new LatentmeshError("protocol", "A decode rank was asked to prefill");
    const { begin } = request;
    const target = begin === null || begin.target === null ? null : { ...begin.target, ranks: this.#ranksOf(begin.target) };
    const chunk = {
      ...request,
      ...decodePrompt(payload, request.layers.first === 0 ? request.tokens : 0, request.asks),
      begin: begin === null ? null : { ...begin, target },
    };
    // A long prompt has too many sums to tell of each.
    return await this.#timed("prefill", () => role.run(chunk, onProgress), () => []);
  }

  #ranksOf({ group, epoch }: { readonly group: string; readonly epoch: number }): readonly HandoffTarget[] {
    const known = this.#groups.get(group);
    if (known?.epoch !== epoch) throw new LatentmeshError("protocol", `Epoch ${epoch} of ${group} is not the one this worker is attached to`);
    return known.targets;
  }

  async #step(request: Extract<Request, { kind: "step" }>, payload: Uint8Array<ArrayBuffer>): Promise<Answer> {
    const role = this.#role(request.epoch);
    if (role.kind === "prefill") throw new LatentmeshError("protocol", "A prefill rank was asked to decode");
    const { behind } = request;
    if (role.kind === "decode" && behind !== null) throw new LatentmeshError("protocol", "A decode rank was asked to prefill");
    const { rows, queries } = decodeStep(payload, request.rows, request.asks);
    const step = () => role.kind === "mixed" ? role.step(rows, queries, request, behind) : role.step(rows, queries, request);
    return await this.#timed("decode", async () => ({ answers: await step(), prompt: [] }), (waits) => waits);
  }

  async #draft(request: Extract<Request, { kind: "draft" }>, payload: Uint8Array<ArrayBuffer>): Promise<Answer> {
    const role = this.#role(request.epoch);
    if (role.kind === "prefill") throw new LatentmeshError("protocol", "A prefill rank was asked for drafts");
    const { rows, queries } = decodeStep(payload, request.rows, request.rows);
    return await this.#timed("decode", async () => ({ answers: await role.draft(rows, queries, request), prompt: [] }), (waits) => waits);
  }

  #closeSequences({ epoch, sequences }: RequestOf<"close">): void {
    const role = this.#role(epoch);
    for (const sequence of sequences) role.close(sequence);
  }

  /** Does some work and says how long it took. @param told what is told of how long each sum took */
  async #timed(phase: Phase, work: () => Promise<Answers>, told: (waitsMs: number[]) => number[]): Promise<Answer> {
    const { membership } = this;
    const { clock } = this.#rank.model;
    const takeWaits = () => membership.collectives.flatMap((collective) => collective.takeWaits());
    takeWaits();
    clock.begin(phase);
    const started = performance.now();
    const answers = await work().catch((error) => {
      clock.drop();
      throw error;
    });
    const totalMs = performance.now() - started;
    await clock.end();
    const waitsMs = takeWaits();
    // Where lanes run side by side, one computes while another waits.
    this.#computeMs += Math.max(0, totalMs - waitsMs.reduce((sum, wait) => sum + wait, 0) / membership.collectives.length);
    const times = { totalMs, waitsMs: told(waitsMs) };
    return { kind: "candidates", sums: times.waitsMs.length, payload: encodeAnswers(answers, times) };
  }

  /** An exchange of next to nothing: the unit answers only if all of it does. */
  async #probe(epoch: number): Promise<Answer> {
    this.membership.checkEpoch(epoch);
    const [collective] = this.membership.collectives;
    collective.input(PROBE_VALUES).fill(0);
    await collective.exchange(PROBE_VALUES);
    return { kind: "done" };
  }

  #stats(): WorkerStats {
    const { membership } = this;
    const { model, caches, role, weightBytes, cacheBytesPerToken } = this.#rank;
    const { sent, received } = membership.traffic;
    const handoff = role.kind === "prefill" ? role.handoff : { bytes: 0, frameBytes: 0, busyMs: 0, stallMs: 0 };
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
      freeBlocks: caches.reduce((sum, { allocator }) => sum + allocator.free, 0),
      sequences: caches.reduce((sum, { sequences }) => sum + sequences, 0),
      cacheBytesPerToken,
      weightBytes,
      phase: model.clock.phase,
      parts: model.clock.totals,
    };
  }

  /** What this rank does, if `epoch` is the current one. */
  #role(epoch: number): LoadedRank["role"] {
    this.membership.checkEpoch(epoch);
    return this.#rank.role;
  }

  #receiving(epoch: number): DecodeRank {
    const role = this.#role(epoch);
    if (role.kind !== "decode") throw new LatentmeshError("protocol", `A ${role.kind} rank was asked to take a prompt over`);
    return role;
  }

  #handing(epoch: number): PrefillRank {
    const role = this.#role(epoch);
    if (role.kind !== "prefill") throw new LatentmeshError("protocol", `A ${role.kind} rank hands nothing over`);
    return role;
  }

  /** What prefill workers and decode ranks say to each other. */
  #receive(...[frame, payload, link]: Parameters<OnPeerFrame>): void {
    const { role } = this.#rank;
    switch (role.kind) {
      case "decode":
        if (frame.kind === "segment") return this.#windows.open(frame, link);
        return role.receive(frame, frame.kind === "latents" ? this.#windows.latentsOf(frame, payload, link) : payload, link, this.membership.epoch);
      case "prefill": {
        const target = this.#targetOf(link);
        if (frame.kind === "mapped") return target?.window?.mapped(frame.problem);
        target?.window?.answered();
        return role.receive(target?.worker ?? "", frame);
      }
      default:
        throw new LatentmeshError("protocol", `A ${role.kind} rank does not take "${frame.kind}"`);
    }
  }

  #targetOf(link: Link): HandoffTarget | undefined {
    for (const { targets } of this.#groups.values()) {
      const target = targets.find((target) => target.link === link);
      if (target !== undefined) return target;
    }
  }
}

/** As much of a reason as travels. */
function shorten(reason: string | null): string | null {
  return reason?.slice(0, 1024) ?? null;
}
