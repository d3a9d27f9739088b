/**
 * One mixed unit whose worker is in this process: no links, no supervisor, the same unit otherwise.
 *
 * @module
 */
import { asLatentmeshError, LatentmeshError } from "../../core/errors.ts";
import type { LoadTimes } from "../../core/wire/load_times.ts";
import type { Reply, Request, RequestOf } from "../../core/wire/messages.ts";
import type { ReplyFrame } from "../../core/wire/rpc.ts";
import { assignmentOf, type CachePlan, type ClusterModel, resolveCache } from "../planning/assignment.ts";
import { Incidents } from "./incidents.ts";
import { log } from "../logs/log.ts";
import type { ClusterServices, LocalWorker } from "../planning/services.ts";
import type { Settings } from "../config/settings.ts";
import { planUnits } from "../planning/topology.ts";
import { type AskOptions, type Asks, type Member, Unit, type UnitListener } from "./unit.ts";
import type { OnLoading, UnitHost } from "./unit_host.ts";
import { UnitKeeper } from "./unit_keeper.ts";

/** Keeps the unit of this process. */
export class LocalHost implements UnitHost {
  readonly units: readonly Unit[];
  readonly incidents = new Incidents();
  readonly failed: Promise<never>;
  readonly #settings: Settings;
  readonly #model: ClusterModel;
  readonly #worker: LocalWorker;
  readonly #unit: Unit;
  readonly #keeper: UnitKeeper;
  readonly #formed = Promise.withResolvers<void>();
  #fail: (error: LatentmeshError) => void;
  #listener: UnitListener = { up() {}, down() {}, linked() {} };
  #closed = false;

  private constructor(settings: Settings, model: ClusterModel, worker: LocalWorker) {
    this.#settings = settings;
    this.#model = model;
    this.#worker = worker;
    const [plan] = planUnits(settings);
    this.#unit = new Unit(plan);
    this.units = [this.#unit];
    const [slot] = plan.slots;
    const hello = { kind: "hello", host: slot.host, pid: Deno.pid, address: "here", device: worker.device, modelHash: "", basisHash: null } as const;
    this.#unit.members[0] = { worker: `${slot.name}/1`, client: new LocalClient(worker), hello, slot, leave() {}, assigned: false };
    this.#keeper = new UnitKeeper({
      unit: this.#unit,
      canAssign: () => true,
      assign: (_, member) => this.#assign(member),
      onFormed: (unit, fresh) => {
        this.#formed.resolve();
        if (unit.epoch > 1) this.incidents.add("restored", unit.name);
        this.#listener.up(unit, fresh);
      },
      onSilent() {},
      onGivenUp: (_, error) => this.#giveUp(error),
    });
    const { promise, reject } = Promise.withResolvers<never>();
    this.failed = promise;
    promise.catch(() => {});
    this.#fail = reject;
    void worker.lost.then((error) => this.#giveUp(error));
  }

  /** Opens the device and loads the model. @throws {LatentmeshError} */
  static async start(settings: Settings, model: ClusterModel, services: ClusterServices, onProgress: OnLoading = () => {}): Promise<LocalHost> {
    const { device, dawn, tuning } = settings;
    const [{ slots: [{ name }] }] = planUnits(settings);
    const worker = await services.openLocal({ worker: name, model: model.directory, device, dawn, tuning, onProgress });
    const host = new LocalHost(settings, model, worker);
    try {
      host.#keeper.wake();
      await Promise.race([host.#formed.promise, host.failed]);
      return host;
    } catch (error) {
      await host.close();
      throw error;
    }
  }

  get members(): readonly Member[] {
    return this.#unit.members.filter((member) => member !== null);
  }

  get cache(): CachePlan {
    return resolveCache(this.#settings, this.#model, this.members, this.#worker.freeBytes);
  }

  get degraded(): string | null {
    return this.#unit.givenUp?.message ?? null;
  }

  /** The device and why it was taken, for people. */
  get device(): string {
    const { device: { kind, description }, reason } = this.#worker;
    return `${kind} (${description}): ${reason}`;
  }

  /** Where the time of loading went. */
  get loadTimes(): LoadTimes {
    return this.#worker.loadTimes;
  }

  attach(listener: UnitListener): void {
    this.#listener = listener;
    if (this.#unit.formed) listener.up(this.#unit, true);
  }

  /** There is nobody to hand anything to. */
  usable(): boolean {
    return false;
  }

  /** Begins another epoch, in which whatever ran is computed again. */
  report(unit: Unit, error: LatentmeshError, epoch: number): void {
    if (this.#closed || unit.epoch !== epoch || !unit.formed) return;
    log("warn", `${unit.name}: ${error.message}`);
    this.incidents.add("failed", unit.name, { message: error.message });
    this.#unform();
    this.#keeper.wake();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#keeper.close();
    await this.#worker.close();
    await this.#model.close();
  }

  async #assign(member: Member): Promise<void> {
    const assignment = assignmentOf(this.#settings, this.#model, this.#unit.plan, member.slot, this.cache);
    const { reply } = await member.client.call("assign", { assignment }, "assigned");
    member.weightBytes = reply.weightBytes;
    member.assigned = true;
  }

  #unform(): void {
    if (!this.#unit.formed) return;
    this.#unit.formed = false;
    this.#listener.down(this.#unit);
  }

  #giveUp(error: LatentmeshError): void {
    if (this.#closed || this.#unit.givenUp !== null) return;
    this.#unit.givenUp = error;
    this.#keeper.close();
    this.#fail(error);
    this.#unform();
  }
}

/** Asks a worker of this process, without frames: what is asked and answered is handed over as it is. */
class LocalClient implements Asks {
  readonly #worker: LocalWorker;

  constructor(worker: LocalWorker) {
    this.#worker = worker;
  }

  async call<K extends Request["kind"], R extends Reply["kind"]>(
    kind: K,
    request: RequestOf<K>,
    expected: R,
    { payload }: Pick<AskOptions, "payload"> = {},
  ): Promise<ReplyFrame<R>> {
    const { payload: answered, ...reply } = await this.#worker.answer({ ...request, kind, id: 0 } as unknown as Request, bytesOf(payload)).catch(
      (error) => Promise.reject(asLatentmeshError(error)),
    );
    if (reply.kind !== expected) throw new LatentmeshError("protocol", `A worker in this process answered "${kind}" with "${reply.kind}"`);
    return { reply: { ...reply, id: 0 } as unknown as Extract<Reply, { kind: R }>, payload: bytesOf(answered) };
  }
}

function bytesOf(view: ArrayBufferView<ArrayBuffer> | undefined): Uint8Array<ArrayBuffer> {
  return view === undefined ? new Uint8Array() : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
