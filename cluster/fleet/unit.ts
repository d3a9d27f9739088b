/**
 * Workers that compute together, as the coordinator sees them: who is there, in which epoch, and how they are asked.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { Hello, Peer, Reply, Request, RequestOf } from "../../core/wire/messages.ts";
import type { ReplyFrame } from "../../core/wire/rpc.ts";
import type { Slot, UnitPlan } from "../planning/topology.ts";

/** Asks a worker, which may be in another process; fails with what the worker says, or because it cannot be asked. */
export interface Asks {
  /** See {@link RpcClient.call}. @throws {LatentmeshError} */
  call<K extends Request["kind"], R extends Reply["kind"]>(
    kind: K,
    request: RequestOf<K>,
    expected: R,
    options?: Pick<AskOptions, "payload" | "deadlineMs"> & { readonly onId?: (id: number) => void },
  ): Promise<ReplyFrame<R>>;
}

/** A worker in its place. */
export interface Member {
  /** Name of its process. */
  readonly worker: string;
  readonly client: Asks;
  readonly hello: Hello;
  /** Sends it away. @param reason what it is told */
  leave(reason?: LatentmeshError): void;
  readonly slot: Slot;
  /** Whether it has loaded what it is to be. */
  assigned: boolean;
  weightBytes?: number;
}

/** Options of {@link Unit.ask}. */
export interface AskOptions {
  readonly payload?: ArrayBufferView<ArrayBuffer>;
  readonly deadlineMs?: number;
  /** Told the id of each rank's request. */
  readonly onId?: (member: Member, id: number) => void;
}

/** Told what becomes of units. */
export interface UnitListener {
  /** A unit can be used. @param fresh whether nothing is cached there */
  up(unit: Unit, fresh: boolean): void;
  /** A unit cannot be used any more, and whatever it held of requests is gone. */
  down(unit: Unit): void;
  /** Prompts of some prefill unit can be handed to some decode group. */
  linked(): void;
}

/** How the ranks of a unit give each other their parts of sums. */
export interface UnitExchange {
  /** `memory`: there is one rank, and nothing to give. */
  readonly by: "memory" | "shared-memory" | "websocket";
  /** Why not through shared memory, where that was tried. */
  readonly notShared: string | null;
  /** Why not in a thread of their own, where parts travel over WebSocket and that was tried. */
  readonly notThreaded: string | null;
}

/** One decode group, prefill unit or mixed unit. */
export class Unit {
  readonly plan: UnitPlan;
  /** By rank. */
  readonly members: (Member | null)[];
  epoch = 0;
  /** Whether its ranks are linked in the current epoch. */
  formed = false;
  /** How its ranks exchange, and why not through shared memory where that was tried. */
  exchange: UnitExchange | null = null;
  /** Why it is not brought up any more; null: it is. */
  givenUp: LatentmeshError | null = null;
  /** Whether it is computing something. */
  busy = false;
  /** Processes that were linked last: what they cached is still there if they are the same. */
  #cached: readonly string[] = [];

  constructor(plan: UnitPlan) {
    this.plan = plan;
    this.members = plan.slots.map(() => null);
  }

  get name(): string {
    return this.plan.name;
  }

  /** Whether every rank is there and loaded. */
  get complete(): boolean {
    return this.members.every((member) => member?.assigned === true);
  }

  /** All ranks. @throws {LatentmeshError} `worker_lost` if one is not there */
  present(): Member[] {
    const absent = this.members.indexOf(null);
    if (absent >= 0) throw new LatentmeshError("worker_lost", `Rank ${absent} of ${this.name} is gone`);
    return this.members as Member[];
  }

  /** Begins an epoch: links every rank to every other. @returns whether some of them are new, so that nothing is cached */
  async form(): Promise<boolean> {
    const members = this.present();
    const epoch = ++this.epoch;
    const secrets = pairSecrets(members.length);
    await Promise.all(members.map(({ client, slot: { rank } }) => {
      const peers = members.filter((other) => other.slot.rank !== rank).map((other) => peerOf(other, secrets(rank, other.slot.rank)));
      return client.call("join", { epoch, peers }, "done", { deadlineMs: FORM_DEADLINE });
    }));
    const [{ reply: { by, notShared, notThreaded } }] = await this.ask("connect", { epoch }, "connected", { deadlineMs: FORM_DEADLINE });
    this.exchange = { by, notShared, notThreaded };
    const workers = members.map(({ worker }) => worker);
    const fresh = workers.some((worker, i) => worker !== this.#cached[i]);
    this.#cached = workers;
    this.formed = true;
    return fresh;
  }

  /** Asks every rank the same; replies in rank order. Fails with the first failure, which tells most. */
  async ask<K extends Request["kind"], R extends Reply["kind"]>(
    kind: K,
    request: RequestOf<K>,
    expected: R,
    options: AskOptions = {},
  ): Promise<ReplyFrame<R>[]> {
    const { onId, ...rest } = options;
    return await Promise.all(
      this.present().map((member) => member.client.call(kind, request, expected, { ...rest, onId: onId && ((id) => onId(member, id)) })),
    );
  }
}

/** Milliseconds that linking may take. */
const FORM_DEADLINE = 10_000;

/**
 * Links a prefill unit to a decode group: rank i of the group is fed by rank i mod P of the unit.
 *
 * @throws {LatentmeshError} if one of them does not answer
 */
export async function linkUnits(prefill: Unit, decode: Unit): Promise<void> {
  const [feeders, ranks] = [prefill.present(), decode.present()];
  const { epoch } = decode;
  const peers = ranks.map((member) => peerOf(member, randomSecret()));
  await Promise.all(ranks.map(({ client, slot: { rank } }) => {
    const { worker } = feeders[rank % feeders.length];
    return client.call("feed", { epoch, feeder: { worker, secret: peers[rank].secret } }, "done", { deadlineMs: FORM_DEADLINE });
  }));
  await Promise.all(feeders.map(({ client, slot: { rank } }) => {
    const fed = peers.filter((peer) => peer.rank % feeders.length === rank);
    return client.call("attach", { group: decode.name, epoch, ranks: fed }, "done", { deadlineMs: FORM_DEADLINE });
  }));
}

function peerOf({ worker, hello, slot }: Member, secret: Uint8Array<ArrayBuffer>): Peer {
  return { worker, rank: slot.rank, address: hello.address, secret };
}

/** One secret for every pair of ranks. */
function pairSecrets(ranks: number): (a: number, b: number) => Uint8Array<ArrayBuffer> {
  const secrets = Array.from({ length: ranks * ranks }, randomSecret);
  return (a, b) => secrets[Math.min(a, b) * ranks + Math.max(a, b)];
}

function randomSecret(): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(32));
}
