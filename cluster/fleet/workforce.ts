/**
 * The processes of a cluster: starts those of this host, lets those of others in, and tells who takes which place.
 *
 * @module
 */
import { sharedOut } from "./share_cores.ts";
import type { LatentmeshError } from "../../core/errors.ts";
import type { Notice } from "../../core/wire/messages.ts";
import { sumsAddress } from "../../core/wire/transport.ts";
import type { ClusterModel } from "../planning/assignment.ts";
import { noPlaceFor } from "./no_place.ts";
import { type Arrival, Lobby } from "./lobby.ts";
import { log } from "../logs/log.ts";
import type { ClusterServices } from "../planning/services.ts";
import type { Settings } from "../config/settings.ts";
import { PrivateDirectory } from "../processes/private_directory.ts";
import { Supervisor } from "./supervisor.ts";
import { readTls, type Tls } from "../config/tls.ts";
import { idleAdvice, type Slot } from "../planning/topology.ts";

/** What a {@link Workforce} is told and tells. */
export interface WorkforceOptions {
  readonly settings: Settings;
  readonly model: ClusterModel;
  readonly services: ClusterServices;
  readonly slots: readonly Slot[];
  /** Whether nobody is in a place. */
  isFree(slot: Slot): boolean;
  /** Where the worker in a place listens; null: nobody is in it. */
  addressOf(slot: Slot): string | null;
  onArrival(arrival: Arrival, slot: Slot): void;
  onNotice(worker: string, notice: Exclude<Notice, { kind: "hello" }>): void;
  /** A place cannot be kept filled. */
  onGivenUp(error: LatentmeshError, slot: Slot): void;
}

/** All workers, here and elsewhere. */
export class Workforce {
  readonly #options: WorkforceOptions;
  /** Where workers of this host meet. */
  readonly #directory: PrivateDirectory;
  readonly #token: Uint8Array<ArrayBuffer>;
  readonly #tls: Tls;
  readonly #supervisors = new Map<string, Supervisor>();
  #lobby: Lobby | null = null;

  private constructor(options: WorkforceOptions, directory: PrivateDirectory) {
    const { token, tls } = options.settings.cluster;
    this.#options = options;
    this.#directory = directory;
    this.#tls = readTls(tls);
    this.#token = token === undefined ? crypto.getRandomValues(new Uint8Array(32)) : new TextEncoder().encode(token);
  }

  /** Listens and starts the workers of this host. @throws {LatentmeshError} */
  static async open(options: WorkforceOptions): Promise<Workforce> {
    const directory = await PrivateDirectory.create();
    try {
      const workforce = new Workforce(options, directory);
      await workforce.#open();
      return workforce;
    } catch (error) {
      await directory.close();
      throw error;
    }
  }

  /** Ends the process in a place of this host: another is started. */
  fence(slot: Slot): void {
    this.#supervisors.get(slot.name)?.fence();
  }

  /** The process in a place is ready, as far as it is of this host. */
  ready(slot: Slot): void {
    this.#supervisors.get(slot.name)?.ready();
  }

  /** Ends the processes in some places and starts no others. */
  abandon(slots: readonly Slot[]): void {
    for (const { name } of slots) void this.#supervisors.get(name)?.stop();
  }

  /** Ends all processes of this host. */
  async close(): Promise<void> {
    await Promise.all([...this.#supervisors.values()].map((supervisor) => supervisor.stop()));
    await this.#lobby?.close();
    await this.#directory.close();
  }

  async #open(): Promise<void> {
    const { settings, model, services, slots, onArrival, onNotice } = this.#options;
    const { listen } = settings.cluster;
    this.#lobby = await Lobby.open(services.transport(this.#tls), {
      addresses: [this.#address("coordinator"), ...(listen === undefined ? [] : [listen])],
      token: this.#token,
      checkWorker: (worker, hello) => {
        if (this.#slotFor(worker, hello.host) === null) throw noPlaceFor(worker, hello, slots, this.#options.addressOf);
        model.checkWorker(worker, hello);
      },
      onArrival: (arrival) => onArrival(arrival, this.#slotFor(arrival.worker, arrival.hello.host)!),
      onNotice,
    });
    const [, joinAddress] = this.#lobby.addresses;
    if (joinAddress !== undefined) log("info", `join    ${joinAddress}`);
    const idle = idleAdvice(settings);
    if (idle !== null) log("warn", idle);
    for (const slot of slots) if (!slot.remote) this.#supervise(slot);
    for (const [host, places] of Map.groupBy(slots.filter(({ remote }) => remote), ({ host }) => host)) {
      log("info", `waiting for ${places.length === 1 ? "a worker" : `${places.length} workers`} of host ${host}`);
    }
  }

  #supervise(slot: Slot): void {
    const { settings, model, services, slots, onGivenUp } = this.#options;
    const places = slots.map(({ name }) => this.#address(name));
    const sockets = this.#overTcp ? null : [this.#address("coordinator"), ...places, ...places.map(sumsAddress)];
    const supervisor = new Supervisor(slot.name, (worker) =>
      services.spawn({
        bootstrap: {
          worker,
          coordinator: this.#address("coordinator"),
          token: this.#token.toHex(),
          // Others reach this host's workers at the coordinator's address, on ports of their own.
          listen: this.#overTcp ? settings.cluster.listen!.replace(/:\d+$/, ":0") : this.#address(slot.name),
          host: slot.host,
          model: model.directory,
          basis: model.basisFile ?? undefined,
          device: settings.device,
          dawn: settings.dawn,
          tuning: sharedOut(settings.tuning, slots.filter(({ remote }) => !remote).length),
          tls: this.#tls,
        },
        directory: this.#directory.path,
        sockets,
        // With ranks of its unit, and with those that it hands prompts to, or gets them from.
        sharesMemory: settings.decode.exchange !== "websocket" && slots.some((other) => other !== slot && sharesWith(slot, other)),
        gpu: slot.gpu,
      }));
    supervisor.givenUp.catch((error) => onGivenUp(error, slot));
    this.#supervisors.set(slot.name, supervisor);
  }

  /** Workers meet over Unix sockets unless some are on other hosts. */
  get #overTcp(): boolean {
    return this.#options.slots.some(({ remote }) => remote);
  }

  #address(name: string): string {
    return `unix:${this.#directory.path}/${name}.sock`;
  }

  /** The place that a worker is to take; null if there is none. */
  #slotFor(worker: string, host: string): Slot | null {
    const { slots, isFree } = this.#options;
    const fits = (slot: Slot) => slot.remote ? slot.host === host : this.#supervisors.get(slot.name)?.worker === worker;
    return slots.find((slot) => isFree(slot) && fits(slot)) ?? null;
  }
}

/** Whether workers of this host exchange sums, or hand prompts over. */
function sharesWith(one: Slot, other: Slot): boolean {
  const prefills = (slot: Slot) => unitOf(slot).startsWith("prefill-");
  return unitOf(one) === unitOf(other) || prefills(one) !== prefills(other);
}

/** Name of a place's unit. */
function unitOf({ name }: Slot): string {
  return name.split(".")[0];
}
