/**
 * Keeps a cluster together: starts workers, lets them in, assigns and links them, finds out who is gone or silent, and repairs. It owns no device and computes
 * nothing.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../core/errors.ts";
import type { Assignment, Notice } from "../core/wire/messages.ts";
import { WorkerError } from "../core/wire/rpc.ts";
import { assignmentOf, type CachePlan, type ClusterModel, resolveCache } from "./assignment.ts";
import type { Route } from "./cluster_sequence.ts";
import type { Routes } from "./cluster_engine.ts";
import { log } from "./log.ts";
import type { ClusterServices } from "./services.ts";
import type { Settings } from "./settings.ts";
import { planUnits, type Slot } from "./topology.ts";
import { linkUnits, type Member, Unit } from "./unit.ts";
import { Workforce } from "./workforce.ts";

/** How far loading has come, over all workers. */
export type OnLoading = (progress: { readonly loadedBytes: number; readonly totalBytes: number }) => void;

/** Milliseconds between looks at idle units. */
const PROBE_INTERVAL = 2000;
/** Milliseconds in which a worker must answer a look, however busy it is. */
const ALIVE_DEADLINE = 15_000;
/** Milliseconds that a request waits for units to be repaired. */
const REPAIR_PATIENCE = 30_000;
/** Milliseconds between attempts to link a unit. */
const RETRY_DELAY = 200;
/** Attempts in a row to link units, after which the cluster gives up. */
const MOST_ATTEMPTS = 20;

/** A running cluster. */
export class Coordinator implements Routes {
  readonly units: readonly Unit[];
  /** Rejects when the cluster cannot be kept together. */
  readonly failed: Promise<never>;
  readonly #settings: Settings;
  readonly #model: ClusterModel;
  readonly #services: ClusterServices;
  #workforce: Workforce | null = null;
  readonly #loading = new Map<string, { loadedBytes: number; totalBytes: number }>();
  /** Pairs of units that are linked, as `prefill@epoch decode@epoch`. */
  readonly #linked = new Set<string>();
  readonly #onLoading: OnLoading;
  #fail: (error: LatentmeshError) => void;
  #closed = false;
  #reconciling = false;
  #again = false;
  #attempts = 0;
  #changed: PromiseWithResolvers<void> = Promise.withResolvers();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #probe: ReturnType<typeof setInterval> | undefined;

  private constructor(settings: Settings, model: ClusterModel, services: ClusterServices, onLoading: OnLoading) {
    this.#settings = settings;
    this.#model = model;
    this.#services = services;
    this.#onLoading = onLoading;
    this.units = planUnits(settings).map((plan) => new Unit(plan));
    const { promise, reject } = Promise.withResolvers<never>();
    this.failed = promise;
    promise.catch(() => {});
    this.#fail = reject;
  }

  /** Starts all workers of this host, waits for those of others, and resolves when a request can be served. @throws {LatentmeshError} */
  static async start(settings: Settings, model: ClusterModel, services: ClusterServices, onLoading: OnLoading = () => {}): Promise<Coordinator> {
    const coordinator = new Coordinator(settings, model, services, onLoading);
    try {
      await coordinator.#open();
      await Promise.race([coordinator.#allReady(), coordinator.failed]);
      return coordinator;
    } catch (error) {
      await coordinator.close();
      throw error;
    }
  }

  /** Sizes that all workers agree on. */
  get cache(): CachePlan {
    return resolveCache(this.#settings, this.#model, this.members);
  }

  get ready(): boolean {
    return !this.#closed && this.#routes().length > 0;
  }

  /** Workers that are there. */
  get members(): Member[] {
    return this.units.flatMap(({ members }) => members).filter((member) => member !== null);
  }

  async acquire(signal: AbortSignal): Promise<Route> {
    const patience = AbortSignal.timeout(REPAIR_PATIENCE);
    while (true) {
      if (signal.aborted) throw new LatentmeshError("cancelled", "The request was cancelled");
      const [route] = this.#routes().sort((a, b) => a.decode.load - b.decode.load || a.prefill.load - b.prefill.load);
      if (route !== undefined) {
        route.decode.load++;
        route.prefill.load++;
        return route;
      }
      if (this.#closed || patience.aborted) throw new LatentmeshError("capacity", `No decode group can serve now: ${this.#whatIsMissing()}`);
      await Promise.race([this.#changed.promise, aborted(AbortSignal.any([signal, patience])), this.failed]);
    }
  }

  release({ decode, prefill }: Route): void {
    decode.load--;
    prefill.load--;
  }

  usable({ decode, prefill }: Route): boolean {
    return decode.formed && prefill.formed && this.#linked.has(pairName(prefill, decode));
  }

  report({ decode, prefill }: Route, error: LatentmeshError, epoch: number): void {
    // What fails late, of an epoch that is over, says nothing about this one.
    if (decode.epoch !== epoch) return;
    log("warn", `${decode.name} with ${prefill.name}: ${error.message}`);
    if (error instanceof WorkerError && error.silent !== null) this.#fence(error.silent);
    // Whoever failed, what both hold of the request must go: a new epoch drops it.
    decode.formed = false;
    this.#linked.delete(pairName(prefill, decode));
    this.#reconcile();
  }

  /** Stops all workers of this host. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#probe);
    this.#changed.resolve();
    for (const { client } of this.members) client.link.close();
    await this.#workforce?.close();
  }

  async #open(): Promise<void> {
    const unitOf = (slot: Slot) => this.units.find(({ plan }) => plan.slots.includes(slot))!;
    this.#workforce = await Workforce.open({
      settings: this.#settings,
      model: this.#model,
      services: this.#services,
      slots: this.units.flatMap(({ plan }) => plan.slots),
      isFree: (slot) => unitOf(slot).members[slot.rank] === null,
      onArrival: (arrival, slot) => this.#arrive(unitOf(slot), { ...arrival, slot, assigned: false }),
      onNotice: (worker, notice) => this.#hear(worker, notice),
      onGivenUp: (error) => this.#fail(error),
    });
    this.#probe = setInterval(() => this.#look(), PROBE_INTERVAL);
  }

  #arrive(unit: Unit, member: Member): void {
    unit.members[member.slot.rank] = member;
    member.client.link.closed.then((reason) => this.#lose(unit, member, reason));
    this.#reconcile();
  }

  #lose(unit: Unit, member: Member, reason: LatentmeshError): void {
    if (unit.members[member.slot.rank] !== member) return;
    unit.members[member.slot.rank] = null;
    unit.formed = false;
    if (!this.#closed) log("warn", `worker  ${member.worker} is gone: ${reason.message}`);
    this.#reconcile();
  }

  #hear(worker: string, notice: Exclude<Notice, { kind: "hello" }>): void {
    if (notice.kind === "trouble") return log("warn", `worker  ${worker}: ${notice.message}`);
    this.#loading.set(worker, notice);
    const all = [...this.#loading.values()];
    this.#onLoading({ loadedBytes: sum(all.map(({ loadedBytes }) => loadedBytes)), totalBytes: sum(all.map(({ totalBytes }) => totalBytes)) });
  }

  /** Ends a worker that does not answer: its supervisor starts another, here or on its own host. */
  #fence(worker: string): void {
    const member = this.members.find((member) => member.worker === worker);
    if (member === undefined) return;
    this.#workforce?.fence(member.slot);
    member.client.link.close();
  }

  /** Brings the cluster nearer to what it should be, one pass at a time. */
  #reconcile(): void {
    if (this.#closed) return;
    this.#again = true;
    if (this.#reconciling) return;
    this.#reconciling = true;
    void this.#passes().finally(() => this.#reconciling = false);
  }

  async #passes(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      try {
        await this.#pass();
        this.#attempts = 0;
      } catch (error) {
        this.#retry(error);
      }
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    }
  }

  async #pass(): Promise<void> {
    if (this.units.some(({ members }) => members.includes(null)) && !this.#model.cacheDecided) return;
    const cache = resolveCache(this.#settings, this.#model, this.members);
    await Promise.all(
      this.units.flatMap((unit) => unit.members.filter((member) => member !== null && !member.assigned).map((member) => this.#assign(unit, member!))),
    );
    for (const unit of this.units) if (unit.complete && !unit.formed) await this.#form(unit, cache.maxTokens);
    for (const { prefill, decode } of this.#pairs()) {
      const pair = pairName(prefill, decode);
      if (!prefill.formed || !decode.formed || this.#linked.has(pair)) continue;
      await linkUnits(prefill, decode);
      this.#linked.add(pair);
    }
  }

  async #assign(unit: Unit, member: Member): Promise<void> {
    const assignment: Assignment = assignmentOf(
      this.#settings,
      this.#model,
      unit.plan,
      member.slot,
      resolveCache(this.#settings, this.#model, this.members),
    );
    try {
      const { reply } = await member.client.call("assign", { assignment }, "assigned");
      member.weightBytes = reply.weightBytes;
      member.assigned = true;
    } catch (error) {
      // A worker that cannot load will not be able to next time either; one that died meanwhile is started again.
      if (error instanceof WorkerError && error.code !== "worker_lost") this.#fail(error);
      throw error;
    }
  }

  async #form(unit: Unit, maxTokens: number): Promise<void> {
    try {
      await unit.form(Math.ceil(maxTokens / 64));
      log("debug", `${unit.name} is linked in epoch ${unit.epoch}`);
    } catch (error) {
      if (error instanceof WorkerError && error.silent !== null) this.#fence(error.silent);
      throw error;
    }
  }

  #retry(error: unknown): void {
    if (this.#closed) return;
    if (error instanceof LatentmeshError && error.code === "invalid_config") return this.#fail(error);
    log("debug", `linking: ${messageOf(error)}`);
    if (++this.#attempts >= MOST_ATTEMPTS) {
      return this.#fail(new LatentmeshError("worker_lost", `The cluster could not be linked after ${this.#attempts} attempts: ${messageOf(error)}`));
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#reconcile(), RETRY_DELAY);
  }

  #pairs(): Route[] {
    const decode = this.units.filter(({ plan }) => plan.role === "decode");
    return this.units.filter(({ plan }) => plan.role === "prefill").flatMap((prefill) => decode.map((unit) => ({ prefill, decode: unit })));
  }

  #routes(): Route[] {
    return this.#pairs().filter((route) => this.usable(route));
  }

  async #allReady(): Promise<void> {
    while (!this.#closed && this.#routes().length < this.#pairs().length) await this.#changed.promise;
  }

  /** Asks every worker for a sign of life, and every idle unit for a collective. */
  #look(): void {
    const { deadlineMs } = this.#settings.decode;
    for (const { client, worker } of this.members) {
      client.call("stats", {}, "stats", { deadlineMs: ALIVE_DEADLINE }).catch((error) => {
        if (error instanceof WorkerError && error.code === "timeout") this.#fence(worker);
      });
    }
    for (const unit of this.units) {
      if (!unit.formed || unit.load > 0) continue;
      const { epoch } = unit;
      unit.turns.take(() => unit.ask("probe", { epoch }, "done", { deadlineMs: deadlineMs + 1000 })).catch((error) => {
        if (unit.epoch !== epoch || this.#closed) return;
        log("warn", `${unit.name} does not answer: ${messageOf(error)}`);
        if (error instanceof WorkerError && error.silent !== null) this.#fence(error.silent);
        unit.formed = false;
        this.#reconcile();
      });
    }
  }

  #whatIsMissing(): string {
    const missing = this.units.filter(({ formed }) => !formed).map(({ name }) => name);
    return missing.length === 0 ? "units are not linked yet" : `${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} being repaired`;
  }
}

function pairName(prefill: Unit, decode: Unit): string {
  return `${prefill.name}@${prefill.epoch} ${decode.name}@${decode.epoch}`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
