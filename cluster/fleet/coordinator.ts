/**
 * Keeps a cluster together: starts workers, lets them in, finds out who is gone or silent, and has units brought up again. A unit that cannot be is given up, and the
 * cluster goes on with the others. It owns no device and computes nothing.
 *
 * @module
 */
import { isHost, isHostChoice } from "../../core/device_kind.ts";
import { asLatentmeshError, LatentmeshError } from "../../core/errors.ts";
import type { Notice } from "../../core/wire/messages.ts";
import type { UnitRole } from "../../core/wire/protocol.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import { assignmentOf, type CachePlan, type ClusterModel, resolveCache } from "../planning/assignment.ts";
import { ContentCheck } from "./content_check.ts";
import { Incidents } from "./incidents.ts";
import type { Arrival } from "./lobby.ts";
import { log, logRecord } from "../logs/log.ts";
import { logLoaded } from "../logs/log_loaded.ts";
import type { ClusterServices } from "../planning/services.ts";
import type { Settings } from "../config/settings.ts";
import { freeForPrefill } from "../planning/prefill_device.ts";
import { planUnits, type Slot } from "../planning/topology.ts";
import { type Member, Unit, type UnitListener } from "./unit.ts";
import type { OnLoading, UnitHost } from "./unit_host.ts";
import { UnitKeeper } from "./unit_keeper.ts";
import { UnitLinks } from "./unit_links.ts";
import { Workforce } from "./workforce.ts";

/** Milliseconds between polls of idle units. */
const PROBE_INTERVAL = 2000;
/** Milliseconds in which a worker must answer a poll, however busy it is. */
const ALIVE_DEADLINE = 15_000;
/** The same of one whose event loop stands while it works. */
const BUSY_DEADLINE = 120_000;

/** A running cluster. */
export class Coordinator implements UnitHost {
  readonly units: readonly Unit[];
  readonly incidents = new Incidents();
  /** Rejects when the cluster cannot be kept together. */
  readonly failed: Promise<never>;
  readonly #settings: Settings;
  readonly #model: ClusterModel;
  readonly #services: ClusterServices;
  readonly #keepers: ReadonlyMap<Unit, UnitKeeper>;
  readonly #links = new UnitLinks({
    onLinked: () => {
      this.#listener.linked();
      this.#change();
    },
    onFailed: (prefill, decode, error) => this.#unlinkable(prefill, decode, error),
  });
  readonly #contents: ContentCheck;
  #workforce: Workforce | null = null;
  /** Found out while workers start, and what came of it. */
  readonly #freeForPrefill: Promise<number | null>;
  #freeBytes: number | null = null;
  /** Places of workers of other hosts who were there, and are not. */
  readonly #lost = new Set<Slot>();
  readonly #loading = new Map<string, { loadedBytes: number; totalBytes: number }>();
  readonly #onLoading: OnLoading;
  #listener: UnitListener = { up() {}, down() {}, linked() {} };
  #fail: (error: LatentmeshError) => void;
  #closed = false;
  /** Whether it has been ready once: until then, whatever cannot be brought up is a reason not to start. */
  #started = false;
  #changed: PromiseWithResolvers<void> = Promise.withResolvers();
  #probe: ReturnType<typeof setInterval> | undefined;

  private constructor(settings: Settings, model: ClusterModel, services: ClusterServices, onLoading: OnLoading) {
    this.#settings = settings;
    this.#model = model;
    this.#services = services;
    this.#onLoading = onLoading;
    this.units = planUnits(settings).map((plan) => new Unit(plan));
    this.#contents = new ContentCheck({
      checkpoint: model.package.checkpoint,
      digest: () => services.digestFiles(model.directory, () => !this.#closed),
      refuse: (host, reason) => {
        for (const member of this.members) if (member.hello.host === host) member.leave(reason);
      },
    });
    this.#keepers = new Map(this.units.map((unit) => [unit, this.#keeper(unit)]));
    this.#freeForPrefill = isHostChoice(settings.device) || settings.prefillChunk !== undefined && settings.prefillWindow !== undefined
      ? Promise.resolve(null)
      : freeForPrefill(settings, services);
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
      coordinator.#started = true;
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
    if (this.#links.any) listener.linked();
  }

  /** Sizes that all workers agree on. */
  get cache(): CachePlan {
    return resolveCache(this.#settings, this.#model, this.members, this.#freeBytes);
  }

  /** Workers that are there. */
  get members(): Member[] {
    return this.units.flatMap(({ members }) => members).filter((member) => member !== null);
  }

  /** What is not as it should be though the cluster serves, in words; null: nothing. */
  get degraded(): string | null {
    const problems = this.units.flatMap(({ name, formed, givenUp }) => {
      if (givenUp !== null) return [`${name} is given up: ${givenUp.message}`];
      return formed ? [] : [`${name} is being repaired`];
    });
    return problems.length === 0 ? null : problems.join("; ");
  }

  usable(prefill: Unit, decode: Unit): boolean {
    return this.#links.usable(prefill, decode);
  }

  report(unit: Unit, error: LatentmeshError, epoch: number): void {
    const blamed = error instanceof WorkerError && error.unit !== null ? this.units.find(({ name }) => name === error.unit!.name) : undefined;
    // Somebody else is to blame, in an epoch of its own.
    if (blamed !== undefined && blamed !== unit) {
      return this.report(blamed, new WorkerError(error.code, error.message, (error as WorkerError).silent), (error as WorkerError).unit!.epoch);
    }
    // What fails late, of an epoch that is over, says nothing about this one.
    if (this.#closed || unit.epoch !== epoch || !unit.formed) return;
    logRecord("warn", "{unit}: {problem}", { unit: unit.name, epoch, problem: error.message });
    this.incidents.add("failed", unit.name, { message: error.message });
    if (error instanceof WorkerError && error.silent !== null) this.#fence(error.silent);
    this.#unform(unit);
    this.#keepers.get(unit)!.wake();
  }

  /** Stops all workers of this host. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#probe);
    for (const keeper of this.#keepers.values()) keeper.close();
    this.#links.close();
    this.#change();
    for (const member of this.members) member.leave();
    await this.#workforce?.close();
    await this.#contents.idle();
    await this.#model.close();
  }

  async #open(): Promise<void> {
    const unitOf = (slot: Slot) => this.units.find(({ plan }) => plan.slots.includes(slot))!;
    this.#workforce = await Workforce.open({
      settings: this.#settings,
      model: this.#model,
      services: this.#services,
      slots: this.units.flatMap(({ plan }) => plan.slots),
      isFree: (slot) => unitOf(slot).givenUp === null && unitOf(slot).members[slot.rank] === null,
      addressOf: (slot) => unitOf(slot).members[slot.rank]?.hello.address ?? null,
      onArrival: (arrival, slot) => this.#arrive(unitOf(slot), arrival, slot),
      onNotice: (worker, notice) => this.#hear(worker, notice),
      onGivenUp: (error, slot) => this.#giveUp(unitOf(slot), error),
    });
    this.#probe = setInterval(() => this.#poll(), PROBE_INTERVAL);
  }

  #keeper(unit: Unit): UnitKeeper {
    return new UnitKeeper({
      unit,
      canAssign: () => this.#model.cacheDecided || this.units.every(({ members, givenUp }) => givenUp !== null || !members.includes(null)),
      assign: (unit, member) => this.#assign(unit, member),
      onFormed: (unit, fresh) => {
        for (const { slot } of unit.present()) this.#workforce?.ready(slot);
        if (unit.epoch > 1) this.incidents.add("restored", unit.name);
        this.#listener.up(unit, fresh);
        this.#links.link(unit, this.units);
        this.#change();
      },
      onSilent: (worker) => this.#fence(worker),
      onGivenUp: (unit, error) => this.#giveUp(unit, error),
    });
  }

  #arrive(unit: Unit, { worker, client, hello }: Arrival, slot: Slot): void {
    const member: Member = { worker, client, hello, slot, leave: (reason) => client.link.close(reason), assigned: false };
    unit.members[slot.rank] = member;
    if (slot.remote) {
      const what = this.#lost.delete(slot) ? "is back" : "has joined";
      logRecord("info", "worker  {worker} of host {host} {what}, as {place}", { worker, host: slot.host, what, place: slot.name });
    }
    client.link.closed.then((reason) => this.#lose(unit, member, reason));
    // The last one to arrive decides sizes for all.
    for (const keeper of this.#keepers.values()) keeper.wake();
  }

  #lose(unit: Unit, member: Member, reason: LatentmeshError): void {
    if (unit.members[member.slot.rank] !== member) return;
    unit.members[member.slot.rank] = null;
    this.#loading.delete(member.worker);
    this.#unform(unit);
    if (this.#closed) return;
    const { host, name: place } = member.slot;
    logRecord("warn", "worker  {worker} is gone: {reason}", { worker: member.worker, host, place, reason: reason.message });
    this.incidents.add("lost", unit.name, { rank: member.slot.rank, message: reason.message });
    if (!member.slot.remote || unit.givenUp !== null) return;
    this.#lost.add(member.slot);
    logRecord("info", "waiting for a worker of host {host}, for {place}", { host, place });
  }

  #hear(worker: string, notice: Exclude<Notice, { kind: "hello" }>): void {
    if (notice.kind === "trouble") return log("warn", `worker  ${worker}: ${notice.message}`);
    this.#loading.set(worker, notice);
    // Until all that are there have said how much they load, what there is in all is not known.
    const isUnheard = (member: Member | null) => member !== null && !member.assigned && !this.#loading.has(member.worker);
    if (this.units.some(({ members }) => members.some(isUnheard))) return;
    const all = [...this.#loading.values()];
    try {
      this.#onLoading({ loadedBytes: sum(all.map(({ loadedBytes }) => loadedBytes)), totalBytes: sum(all.map(({ totalBytes }) => totalBytes)) });
    } catch (error) {
      // A listener of the user's: its errors are not the worker's.
      log("warn", `the listener of progress failed: ${asLatentmeshError(error).message}`);
    }
  }

  /** Ends a worker that does not answer: its supervisor starts another, here or on its own host. */
  #fence(worker: string): void {
    const unit = this.units.find(({ members }) => members.some((member) => member?.worker === worker));
    const member = unit?.members.find((member) => member?.worker === worker);
    if (unit === undefined || member == null) return;
    this.#workforce?.fence(member.slot);
    member.leave();
    // At once: nothing more is asked of it.
    this.#lose(unit, member, new LatentmeshError("worker_lost", "it did not answer"));
  }

  #unform(unit: Unit): void {
    if (!unit.formed) return;
    unit.formed = false;
    this.#listener.down(unit);
  }

  /** A unit cannot be brought up. While the cluster starts, or if nothing is left that could serve, that is the end of it. */
  #giveUp(unit: Unit, error: LatentmeshError): void {
    if (this.#closed || unit.givenUp !== null) return;
    unit.givenUp = error;
    this.#keepers.get(unit)!.close();
    this.#unform(unit);
    const left = (role: UnitRole) => this.units.some(({ plan, givenUp }) => plan.role === role && givenUp === null);
    const serves = left("mixed") || (left("prefill") && left("decode"));
    if (!this.#started || this.#settings.cluster.strict || !serves) return this.#fail(error);
    logRecord("error", "{unit} is given up: {problem}", { unit: unit.name, problem: error.message });
    this.incidents.add("given-up", unit.name, { message: error.message });
    for (const member of unit.members) member?.leave();
    this.#workforce?.abandon(unit.plan.slots);
    // What waited for its workers to say which devices they have does no longer.
    for (const keeper of this.#keepers.values()) keeper.wake();
  }

  async #assign(unit: Unit, member: Member): Promise<void> {
    if (!this.#model.cacheDecided) this.#freeBytes = await this.#freeForPrefill;
    const { cache } = this;
    const assignment = assignmentOf(this.#settings, this.#model, unit.plan, member.slot, cache);
    await this.#contents.beforeLoading(member);
    const { reply } = await member.client.call("assign", { assignment }, "assigned");
    member.weightBytes = reply.weightBytes;
    logLoaded(member.worker, reply.times);
    member.assigned = true;
    this.#contents.afterLoading(member);
  }

  /** They are both well, and cannot reach each other: both begin anew. */
  #unlinkable(prefill: Unit, decode: Unit, error: LatentmeshError): void {
    const problem = new LatentmeshError("worker_lost", `${prefill.name} and ${decode.name} could not be linked: ${error.message}`);
    if (!this.#started) return this.#fail(problem);
    for (const unit of [prefill, decode]) this.report(unit, problem, unit.epoch);
  }

  async #allReady(): Promise<void> {
    const [prefill, decode, mixed] = (["prefill", "decode", "mixed"] as const).map((role) => this.units.filter(({ plan }) => plan.role === role));
    const ready = () => mixed.every(({ formed }) => formed) && prefill.every((unit) => decode.every((group) => this.usable(unit, group)));
    while (!this.#closed && !ready()) await this.#changed.promise;
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Asks every worker for a sign of life, and every idle unit for a collective. */
  #poll(): void {
    const { deadlineMs } = this.#settings.decode;
    for (const member of this.members) {
      const { client, worker } = member;
      client.call("stats", {}, "stats", { deadlineMs: patienceWith(member) }).catch((error) => {
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

/** Milliseconds that a worker may be silent: while it loads, and where it computes by itself, its event loop stands for as long as the longest kernel takes. */
function patienceWith({ assigned, hello }: Member): number {
  return assigned && !isHost(hello.device.kind) ? ALIVE_DEADLINE : BUSY_DEADLINE;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
