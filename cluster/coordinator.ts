/**
 * Keeps a cluster together: starts workers, lets them in, assigns and links them, finds out who is gone or silent, and repairs. It owns no device and computes
 * nothing.
 *
 * @module
 */
import { asLatentmeshError, LatentmeshError, messageOf } from "../core/errors.ts";
import type { Assignment, Notice } from "../core/wire/messages.ts";
import { WorkerError } from "../core/wire/rpc.ts";
import { assignmentOf, type CachePlan, type ClusterModel, resolveCache } from "./assignment.ts";
import { log } from "./log.ts";
import type { ClusterServices } from "./services.ts";
import type { Settings } from "./settings.ts";
import { planUnits, type Slot } from "./topology.ts";
import type { Units } from "./serving/serving.ts";
import { linkUnits, type Member, Unit, type UnitListener } from "./unit.ts";
import { Workforce } from "./workforce.ts";

/** How far loading has come, over all workers. */
export type OnLoading = (progress: { readonly loadedBytes: number; readonly totalBytes: number }) => void;

/** Milliseconds between looks at idle units. */
const PROBE_INTERVAL = 2000;
/** Milliseconds in which a worker must answer a look, however busy it is. */
const ALIVE_DEADLINE = 15_000;
/** Milliseconds between attempts to link a unit. */
const RETRY_DELAY = 200;
/** Attempts in a row to link units, after which the cluster gives up. */
const MOST_ATTEMPTS = 20;

/** A running cluster. */
export class Coordinator implements Units {
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
  #listener: UnitListener = { up() {}, down() {}, linked() {} };
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

  /** From now on, tells a listener what becomes of units; first, what is there. */
  attach(listener: UnitListener): void {
    this.#listener = listener;
    for (const unit of this.units) if (unit.formed) listener.up(unit, true);
    if (this.#linked.size > 0) listener.linked();
  }

  /** Sizes that all workers agree on. */
  get cache(): CachePlan {
    return resolveCache(this.#settings, this.#model, this.members);
  }

  /** Workers that are there. */
  get members(): Member[] {
    return this.units.flatMap(({ members }) => members).filter((member) => member !== null);
  }

  usable(prefill: Unit, decode: Unit): boolean {
    return decode.formed && prefill.formed && this.#linked.has(pairName(prefill, decode));
  }

  report(unit: Unit, error: LatentmeshError, epoch: number): void {
    // What fails late, of an epoch that is over, says nothing about this one.
    if (this.#closed || unit.epoch !== epoch || !unit.formed) return;
    log("warn", `${unit.name}: ${error.message}`);
    if (error instanceof WorkerError && error.silent !== null) this.#fence(error.silent);
    this.#unform(unit);
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
    this.#unform(unit);
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

  #unform(unit: Unit): void {
    if (!unit.formed) return;
    unit.formed = false;
    for (const pair of this.#linked) if (pair.split(" ").some((end) => end.startsWith(`${unit.name}@`))) this.#linked.delete(pair);
    this.#listener.down(unit);
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
    resolveCache(this.#settings, this.#model, this.members);
    await Promise.all(
      this.units.flatMap((unit) => unit.members.filter((member) => member !== null && !member.assigned).map((member) => this.#assign(unit, member!))),
    );
    for (const unit of this.units) if (unit.complete && !unit.formed) await this.#form(unit);
    for (const { prefill, decode } of this.#pairs()) {
      const pair = pairName(prefill, decode);
      if (!prefill.formed || !decode.formed || this.#linked.has(pair)) continue;
      await linkUnits(prefill, decode);
      if (pair !== pairName(prefill, decode) || !prefill.formed || !decode.formed) continue;
      this.#linked.add(pair);
      this.#listener.linked();
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

  async #form(unit: Unit): Promise<void> {
    try {
      this.#listener.up(unit, await unit.form());
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

  #pairs(): { readonly prefill: Unit; readonly decode: Unit }[] {
    const decode = this.units.filter(({ plan }) => plan.role === "decode");
    return this.units.filter(({ plan }) => plan.role === "prefill").flatMap((prefill) => decode.map((unit) => ({ prefill, decode: unit })));
  }

  async #allReady(): Promise<void> {
    while (!this.#closed && !this.#pairs().every(({ prefill, decode }) => this.usable(prefill, decode))) await this.#changed.promise;
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
      if (!unit.formed || unit.busy) continue;
      const { epoch } = unit;
      unit.ask("probe", { epoch }, "done", { deadlineMs: deadlineMs + 1000 }).catch((error) => this.report(unit, asLatentmeshError(error), epoch));
    }
  }
}

function pairName(prefill: Unit, decode: Unit): string {
  return `${prefill.name}@${prefill.epoch} ${decode.name}@${decode.epoch}`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
