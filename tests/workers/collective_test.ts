/**
 * Sums between ranks over real sockets: the same bits everywhere and every time, and a named culprit when one is silent.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../core/errors.ts";
import { encodeFrame } from "../../core/wire/codec.ts";
import type { Peer } from "../../core/wire/messages.ts";
import { acceptLink } from "../../core/wire/link.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import type { Listener } from "../../core/wire/transport.ts";
import { type Collective, LocalExchange } from "../../workers/collective.ts";
import { type ExchangeOptions, Membership } from "../../workers/membership.ts";
import { DenoTransport } from "../../workers/transport.ts";
import { Random } from "../support/random.ts";

const transport = new DenoTransport();

/** Ranks of one process that meet over sockets. */
class Ranks {
  readonly members: Membership[] = [];
  readonly broken: string[] = [];
  readonly #listeners: Listener[] = [];
  readonly #directory: string;
  #epoch = 0;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async open(ranks: number, options: Partial<ExchangeOptions> = {}): Promise<Ranks> {
    const group = new Ranks(await Deno.makeTempDir());
    for (let rank = 0; rank < ranks; rank++) {
      const identity = { worker: `r${rank}`, role: "decode" as const, rank, ranks };
      const membership = new Membership(identity, transport, { wire: "f32", deadlineMs: 5000, lanes: 1, ...options }, () => {}, (link, reason) => {
        group.broken.push(`${link.identity.worker}: ${reason.message}`);
      });
      group.members.push(membership);
      const listener = await transport.listen(`unix:${group.#directory}/${rank}`, async (socket) => {
        membership.accept(await acceptLink(socket, (peer) => membership.secretOf(peer)));
      });
      group.#listeners.push(listener);
    }
    return group;
  }

  /** Begins an epoch and links everybody. */
  async join(): Promise<Collective[]> {
    const epoch = ++this.#epoch;
    const secret = crypto.getRandomValues(new Uint8Array(32));
    const peers = this.#listeners.map(({ address }, rank): Peer => ({ worker: `r${rank}`, rank, address, secret }));
    for (const [rank, member] of this.members.entries()) member.join({ epoch, peers: peers.filter((peer) => peer.rank !== rank) });
    return await Promise.all(this.members.map(async (member) => (await member.connect())[0]));
  }

  async close(): Promise<void> {
    for (const member of this.members) member.leave();
    for (const listener of this.#listeners) await listener.close();
    await Deno.remove(this.#directory, { recursive: true });
  }
}

async function sumAll(collectives: readonly Collective[], parts: readonly Float32Array[]): Promise<Float32Array[]> {
  return await Promise.all(collectives.map(async (collective, rank) => {
    collective.input(parts[rank].length).set(parts[rank]);
    return (await collective.allReduce(parts[rank].length)).slice();
  }));
}

const bits = (values: Float32Array) => [...new Uint32Array(values.slice().buffer)];

describe("the all-reduce", () => {
  // One hop; blocks because there are many ranks; blocks because the tensor is large; lengths that do not divide.
  for (const [ranks, values] of [[2, 7168], [3, 1], [4, 320], [5, 1003], [2, 300_001]]) {
    it(`gives ${ranks} ranks the same bits of ${values} values, three times and as in one process`, async () => {
      const random = new Random();
      const parts = Array.from({ length: ranks }, () => random.normals(values, 10));
      const exchange = new LocalExchange(ranks);
      const [expected] = await sumAll(parts.map((_, rank) => exchange.rank(rank)), parts);
      const group = await Ranks.open(ranks);
      for (let run = 0; run < 3; run++) {
        const collectives = await group.join();
        for (let again = 0; again < 2; again++) {
          for (const [rank, sum] of (await sumAll(collectives, parts)).entries()) assertEquals(bits(sum), bits(expected), `rank ${rank}`);
        }
      }
      await group.close();
      assertEquals(group.broken, []);
    });
  }

  it("rounds alike on every rank where f16 is on the wire", async () => {
    const parts = Array.from({ length: 3 }, () => new Random().normals(1000));
    const group = await Ranks.open(3, { wire: "f16" });
    const sums = await sumAll(await group.join(), parts);
    for (const sum of sums) assertEquals(bits(sum), bits(sums[0]));
    const largest = Math.max(...sums[0].map((sum, i) => Math.abs(sum - parts[0][i] - parts[1][i] - parts[2][i])));
    assert(largest > 0 && largest < 0.02, `off by ${largest}`);
    await group.close();
  });

  it("names the rank that is silent, and the one that is gone", async () => {
    const group = await Ranks.open(3, { deadlineMs: 50 });
    const [first] = await group.join();
    first.input(8);
    const silent = await assertRejects(() => first.allReduce(8), WorkerError, "Rank 1 (worker r1) was silent for 50 ms");
    assertEquals([silent.code, silent.silent], ["timeout", "r1"]);
    const [, second] = await group.join();
    second.input(8);
    const waiting = assertRejects(() => second.allReduce(8), WorkerError, "(worker r0) is gone");
    group.members[0].leave();
    assertEquals((await waiting).code, "worker_lost");
    await group.close();
  });

  it("lets no frame of another epoch, shape or exchange in", async () => {
    const cases: [message: object, payload: number, problem: string][] = [
      [{ epoch: 1, turn: 1, shape: [8], byteLength: 32 }, 32, "Epoch 1 is over"],
      [{ epoch: 2, turn: 1, shape: [9], byteLength: 36 }, 36, "f32 [9] where f32 [8]"],
      [{ epoch: 2, turn: 1, shape: [8], byteLength: 32 }, 28, "announces 32 and brings 28"],
      [{ epoch: 2, turn: 4, shape: [8], byteLength: 32 }, 32, "at exchange 4 where 1 is due"],
      [{ epoch: 2, turn: 1, shape: [8], byteLength: 32, extra: 1 }, 32, "extra"],
    ];
    for (const [message, payload, problem] of cases) {
      const group = await Ranks.open(2, { deadlineMs: 1000 });
      await group.join();
      const [first] = await group.join();
      const lying = group.members[1].linkTo(0)!;
      lying.sendFrame(encodeFrame({ kind: "partial", lane: 0, dtype: "f32", ...message }, new Uint8Array(payload)));
      first.input(8);
      const error = await assertRejects(() => first.allReduce(8), LatentmeshError);
      await lying.closed.catch(() => {});
      assert([error.message, ...group.broken].some((text) => text.includes(problem)), `${problem}: ${error.message}; ${group.broken}`);
      await group.close();
    }
  });
});
