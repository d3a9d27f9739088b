/**
 * Exchanges between ranks over real sockets and through shared memory: the same bits everywhere and every time, and a named culprit when one is silent.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { encodeFrame } from "../../../core/wire/codec.ts";
import { WorkerError } from "../../../core/wire/rpc.ts";
import { type Collective, type Exchanged, NO_SUM } from "../../../workers/collective/collective.ts";
import { LocalExchange } from "../../../workers/collective/local_exchange.ts";
import { SharedMemory, whyNotShared } from "../../../workers/collective/shared_memory.ts";
import { Random } from "../../../bench/support/random.ts";
import { Ranks } from "../../support/ranks.ts";

/** What a rank's kernels make of an exchange: its own part in its place, all of them added in rank order. */
function sumOf(exchanged: Exchanged, { rank, wire }: Collective, own: Uint8Array<ArrayBuffer>): Float32Array {
  if ("sum" in exchanged) return exchanged.sum.slice();
  const view = (part: Uint8Array<ArrayBuffer> | null) => {
    const bytes = part!.slice().buffer;
    return wire === "f32" ? new Float32Array(bytes) : new Float16Array(bytes);
  };
  const [first, ...others] = [...exchanged.parts.slice(0, rank), own, ...exchanged.parts.slice(rank)].map(view);
  const sum = Float32Array.from(first);
  for (const part of others) for (let i = 0; i < sum.length; i++) sum[i] += part[i];
  return sum;
}

/** Every rank's part as it is sent. */
function sent(parts: readonly Float32Array<ArrayBuffer>[], wire: "f32" | "f16"): Uint8Array<ArrayBuffer>[] {
  return parts.map((part) => new Uint8Array((wire === "f32" ? part : Float16Array.from(part)).slice().buffer));
}

async function sumAll(collectives: readonly Collective[], parts: readonly Float32Array<ArrayBuffer>[]): Promise<Float32Array[]> {
  const own = sent(parts, collectives[0].wire);
  // As ranks do: parts are written before anybody is waited for.
  return await Promise.all(collectives.map(async (collective, rank) => {
    const values = parts[rank].length;
    collective.input(values).set(own[rank]);
    return sumOf(await collective.exchange(values), collective, own[rank]);
  }));
}

async function give(collective: Collective, part: Uint8Array<ArrayBuffer>): Promise<void> {
  const values = part.byteLength / 4;
  collective.input(values).set(part);
  await collective.exchange(values);
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  return items.map((item) => ({ item, key: random.next() })).sort((a, b) => a.key - b.key).map(({ item }) => item);
}

const bits = (values: Float32Array) => new Uint32Array(values.slice().buffer);

const WAYS = ["websocket", "websocket in a thread", "shared-memory"] as const;
/** What exchanges of each way say of themselves. */
const NAMES = {
  "websocket": ["websocket", "in turns"],
  "websocket in a thread": ["websocket", "meanwhile"],
  "shared-memory": ["shared-memory", "at once"],
};

for (const way of WAYS) {
  describe(`an exchange by ${way}`, () => {
    const unable = way === "shared-memory" ? whyNotShared() : null;
    if (unable !== null) return it.skip(`skipped, ${unable}`);

    // One hop; blocks because there are many ranks; blocks because the tensor is large; lengths that do not divide.
    for (const [ranks, values] of [[2, 7168], [3, 1], [4, 320], [5, 1003], [2, 300_001], [3, 300_001]]) {
      it(`gives ${ranks} ranks the same bits of ${values} values, three times and as in one process`, async () => {
        const random = new Random();
        const parts = Array.from({ length: ranks }, (_, rank) => random.normals(values, 10 ** rank));
        const local = new LocalExchange(ranks);
        const [expected] = await sumAll(parts.map((_, rank) => local.rank(rank)), parts);
        const group = await Ranks.open(ranks, { way });
        // Threads take a while to start.
        for (let run = 0; run < (way === "websocket in a thread" ? 1 : 3); run++) {
          const collectives = await group.join();
          for (const { by, travels } of collectives) assertEquals([by, travels], NAMES[way]);
          for (let again = 0; again < 3; again++) {
            for (const [rank, sum] of (await sumAll(collectives, parts)).entries()) assertEquals(bits(sum), bits(expected), `rank ${rank}`);
          }
        }
        await group.close();
        assertEquals(group.broken, []);
      });
    }

    for (const [ranks, values] of [[2, 7168], [5, 1003], [3, 300_001]]) {
      it(`gives ${ranks} ranks the bits of ${values} values whose parts were rounded to f16, and rounds no sum`, async () => {
        const random = new Random();
        const parts = Array.from({ length: ranks }, () => random.normals(values));
        const rounded = parts.map((part) => Float32Array.from(Float16Array.from(part)));
        const local = new LocalExchange(ranks);
        const [expected] = await sumAll(rounded.map((_, rank) => local.rank(rank)), rounded);
        const group = await Ranks.open(ranks, { way, wire: "f16" });
        for (const [rank, sum] of (await sumAll(await group.join(), parts)).entries()) assertEquals(bits(sum), bits(expected), `rank ${rank}`);
        await group.close();
      });
    }

    it("gives everybody's part to everybody as it is where nothing is summed, between sums", async () => {
      // More ranks than exchange sums in one hop, and values that are no f16 at all: two to a float.
      for (const ranks of [2, 5]) {
        const random = new Random();
        const group = await Ranks.open(ranks, { way, wire: "f16" });
        const collectives = await group.join();
        for (let round = 0; round < 3; round++) {
          const apart = Array.from({ length: ranks }, () => new Uint8Array(random.normals(37 + round).buffer));
          const values = apart[0].byteLength / 2;
          const given = await Promise.all(collectives.map(async (collective, rank) => {
            collective.input(values).set(apart[rank]);
            const exchanged = await collective.exchange(values, NO_SUM);
            assert("parts" in exchanged);
            return exchanged.parts.map((part) => part!.slice());
          }));
          given.forEach((parts, rank) => assertEquals(parts, apart.toSpliced(rank, 1)));
          const parts = Array.from({ length: ranks }, () => random.normals(1003));
          const [first, ...others] = await sumAll(collectives, parts);
          for (const sum of others) assertEquals(bits(sum), bits(first));
        }
        await group.close();
      }
    });

    it("rounds alike on every rank where f16 is on the wire", async () => {
      const parts = Array.from({ length: 3 }, () => new Random().normals(1000));
      const group = await Ranks.open(3, { way, wire: "f16" });
      const sums = await sumAll(await group.join(), parts);
      for (const sum of sums) assertEquals(bits(sum), bits(sums[0]));
      const largest = Math.max(...sums[0].map((sum, i) => Math.abs(sum - parts[0][i] - parts[1][i] - parts[2][i])));
      assert(largest > 0 && largest < 0.02, `off by ${largest}`);
      await group.close();
    });

    it("keeps lanes apart", async () => {
      const group = await Ranks.open(2, { way, lanes: 2 });
      await group.join();
      const parts = (lane: number) => [Float32Array.of(1, lane), Float32Array.of(2, 10 * lane)];
      const lanes = [0, 1].map((lane) => group.members.map(({ collectives }) => collectives[lane]));
      for (let round = 0; round < 3; round++) {
        const sums = await Promise.all([1, 0].map((lane) => sumAll(lanes[lane], parts(lane))));
        assertEquals(sums.map((ranks) => ranks.map((sum) => [...sum])), [[[3, 11], [3, 11]], [[3, 0], [3, 0]]]);
      }
      await group.close();
    });

    it("names the rank that is silent, and the one that is gone", async () => {
      const group = await Ranks.open(3, { way, deadlineMs: 1000 });
      const [first] = await group.join();
      first.input(8);
      const silent = await assertRejects(async () => await first.exchange(8), WorkerError, "Rank 1 (worker r1) was silent for 1000 ms");
      assertEquals([silent.code, silent.silent], ["timeout", "r1"]);
      const [, second] = await group.join();
      second.input(8);
      const waiting = assertRejects(async () => await second.exchange(8), WorkerError, "(worker r0) is gone");
      group.members[0].leave();
      assertEquals((await waiting).code, "worker_lost");
      await group.close();
    });

    it("ends with its epoch, also while it waits", async () => {
      const group = await Ranks.open(2, { way });
      const [first] = await group.join();
      first.input(8);
      const waiting = assertRejects(async () => await first.exchange(8), LatentmeshError, "Epoch 1 of the unit is over");
      group.members[0].leave();
      await waiting;
      await assertRejects(async () => (first.input(8), await first.exchange(8)), LatentmeshError, "Epoch 1 of the unit is over");
      await group.close();
    });
  });
}

describe("shared memory", () => {
  it("gives parts to whom asked for them as they come, each once and of this exchange alone; who did not ask has them all at the end", async () => {
    if (whyNotShared() !== null) return;
    const random = new Random();
    const group = await Ranks.open(4, { way: "shared-memory" });
    const collectives = await group.join();
    for (let round = 0; round < 40; round++) {
      const values = 1 + random.below(1000);
      const own = collectives.map(() => new Uint8Array(random.normals(values).buffer));
      const [watched, ...others] = shuffled(random, collectives);
      const asks = random.next() < 0.8;
      const taken: (Uint8Array | undefined)[] = [undefined, undefined, undefined];
      const input = watched.input(values, asks ? (other, part) => (assertEquals(taken[other], undefined), taken[other] = part.slice()) : undefined);
      input.set(own[watched.rank]);
      const come = new Set<number>();
      const expected = () => others.map((_, other) => asks && come.has(other) ? own[other < watched.rank ? other : other + 1] : undefined);
      const before = random.below(4);
      const waiting = others.slice(0, before).map((other) => give(other, own[other.rank]));
      for (const { rank } of others.slice(0, before)) come.add(rank < watched.rank ? rank : rank - 1);
      watched.poll?.();
      watched.poll?.();
      assertEquals(taken, asks ? expected() : [undefined, undefined, undefined]);
      const exchange = watched.exchange(values);
      waiting.push(...others.slice(before).map((other) => give(other, own[other.rank])));
      const exchanged = await exchange;
      assert("parts" in exchanged);
      assertEquals(exchanged.parts.map((part, other) => part?.slice() ?? taken[other]), own.filter((_, rank) => rank !== watched.rank));
      if (asks) assertEquals(exchanged.parts, [null, null, null]);
      await Promise.all(waiting);
    }
    collectives[0].input(8, () => assert(false, "nobody has given anything"));
    await group.close();
    collectives[0].poll?.();
  });

  it("is not used where one rank cannot, and says which and why; where it must be, that is an error", async () => {
    for (const unable of [0, 1]) {
      const auto = await Ranks.open(2, { way: "auto" }, unable);
      const collectives = await auto.join();
      assertEquals(collectives.map(({ by }) => by), ["websocket", "websocket"]);
      const parts = [Float32Array.of(1), Float32Array.of(2)];
      assertEquals((await sumAll(collectives, parts)).map(([sum]) => sum), [3, 3]);
      for (const { notShared } of auto.members) assert(/no room|has none/.test(notShared!), notShared!);
      await auto.close();
      const must = await Ranks.open(2, { way: "shared-memory" }, unable);
      const error = await assertRejects(() => must.join(), LatentmeshError, "Cannot exchange through shared memory");
      assertEquals(error.code, "unsupported");
      await must.close();
    }
  });

  it("leaves no file behind, opens nothing but segments, and notices another one", () => {
    if (whyNotShared() !== null) return;
    const segment = SharedMemory.create(8192);
    const { path, key } = segment;
    const info = Deno.statSync(path);
    assertEquals([info.mode! & 0o777, info.size], [0o600, 8192]);
    const other = SharedMemory.open(path, 8192, key);
    new Uint8Array(segment.memory)[5000] = 77;
    assertEquals(new Uint8Array(other.memory)[5000], 77);
    for (
      const [name, bytes, of, problem] of [
        [path, 4096, key, "where 4096 were announced"],
        [path, 8192, new Uint8Array(32), "another segment"],
        ["/etc/passwd", 8192, key, "no segment's name"],
        [`${path.slice(0, -1)}/../x`, 8192, key, "no segment's name"],
        [path.replace(/.{8}$/, "00000000"), 8192, key, "cannot be opened"],
      ] as const
    ) assertThrows(() => SharedMemory.open(name, bytes, of), LatentmeshError, problem);
    segment.unlink();
    assertThrows(() => Deno.statSync(path), Deno.errors.NotFound);
    assertEquals(new Uint8Array(other.memory)[5000], 77);
    segment.close();
    other.close();
    assertEquals([segment.memory.byteLength, other.memory.byteLength], [0, 0]);
    assertThrows(() => SharedMemory.create(2 ** 44), LatentmeshError, "no room");
  });
});

describe("a thread of sums", () => {
  it("is not used where one rank has none, and says which", async () => {
    for (const unable of [0, 1]) {
      const group = await Ranks.open(2, { way: "websocket in a thread" }, unable);
      const collectives = await group.join();
      assertEquals(collectives.map(({ travels }) => travels), ["in turns", "in turns"]);
      const parts = [Float32Array.of(1), Float32Array.of(2)];
      assertEquals((await sumAll(collectives, parts)).map(([sum]) => sum), [3, 3]);
      const problems = [0, 1].map((rank) => rank === unable ? "its sockets are not for threads" : `rank ${unable} (worker r${unable}) has none`);
      assertEquals(group.members.map(({ notThreaded }) => notThreaded), problems);
      await group.close();
    }
  });

  it("is not used where it cannot listen, and says why", async () => {
    const nowhere = { listen: "unix:/nowhere/at/all", advertise: (address: string) => address, tls: {}, spare: false };
    const group = await Ranks.open(2, { way: "websocket", sumThread: nowhere });
    assertEquals((await group.join()).map(({ travels }) => travels), ["in turns", "in turns"]);
    for (const { notThreaded } of group.members) assert(notThreaded!.includes("Cannot listen on unix:/nowhere/at/all"), notThreaded!);
    await group.close();
  });

  it("lets a rank do something else while parts are on their way, and only then waits", async () => {
    const group = await Ranks.open(2, { way: "websocket in a thread" });
    const [first, second] = await group.join();
    first.input(1);
    let exchanged: ReturnType<Collective["exchange"]> | null = null;
    const sums = first.exchange(1, 1, () => {
      second.input(1);
      exchanged = second.exchange(1);
    });
    assert("parts" in await sums);
    assert("parts" in await exchanged!);
    await group.close();
  });
});

describe("an exchange over WebSocket", () => {
  it("lets no frame of another epoch, shape or exchange in", async () => {
    const cases: [message: object, payload: number, problem: string][] = [
      [{ epoch: 1, turn: 1, shape: [8], byteLength: 32 }, 32, "Epoch 1 is over"],
      [{ epoch: 2, turn: 1, shape: [9], byteLength: 36 }, 36, "f32 [9] where f32 [8]"],
      [{ epoch: 2, turn: 1, shape: [8], byteLength: 32 }, 28, "announces 32 and brings 28"],
      [{ epoch: 2, turn: 4, shape: [8], byteLength: 32 }, 32, "at exchange 4 where 1 is due"],
      [{ epoch: 2, turn: 1, shape: [8], byteLength: 32, extra: 1 }, 32, "extra"],
    ];
    for (const [message, payload, problem] of cases) {
      const group = await Ranks.open(2, { way: "websocket", deadlineMs: 1000 });
      await group.join();
      const [first] = await group.join();
      const lying = group.members[1].linkTo(0)!;
      lying.sendFrame(encodeFrame({ kind: "partial", lane: 0, dtype: "f32", ...message }, new Uint8Array(payload)));
      first.input(8);
      const error = await assertRejects(async () => await first.exchange(8), LatentmeshError);
      await lying.closed.catch(() => {});
      assert([error.message, ...group.broken].some((text) => text.includes(problem)), `${problem}: ${error.message}; ${group.broken}`);
      await group.close();
    }
  });
});
