/**
 * The thread that a rank sums in: what it is given comes back, whoever lies to it is found out, and its frames are those that everybody else sends.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { decodeFrame, encodeFrame } from "../../../core/wire/codec.ts";
import { acceptLink, connectLink } from "../../../core/wire/link.ts";
import { parseMessage, type PeerFrame, peerFrameSchema } from "../../../core/wire/messages.ts";
import { MOST_EXCHANGES, PAYLOAD_ALIGNMENT } from "../../../core/wire/protocol.ts";
import { sumsAddress } from "../../../core/wire/transport.ts";
import { type MailboxShape, SumMailbox } from "../../../workers/collective/sum_mailbox.ts";
import { PartFrame } from "../../../workers/collective/part_frame.ts";
import { Membership } from "../../../workers/process/membership.ts";
import { DenoTransport } from "../../../workers/links/transport.ts";
import { Random, SEED } from "../../../bench/support/random.ts";

const partKinds = fc.record({
  epoch: fc.integer({ min: 0, max: 3 }),
  lane: fc.constantFrom<0 | 1>(0, 1),
  dtype: fc.constantFrom<"f32" | "f16">("f32", "f16"),
});
const turns = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: MOST_EXCHANGES - 1 }));
const sizes = fc.integer({ min: 1, max: 40 });

describe("a frame of parts", () => {
  it("is what the message would be packed as, whatever it was sealed for before", () => {
    fc.assert(
      fc.property(partKinds, fc.array(fc.tuple(turns, sizes), { minLength: 1, maxLength: 6 }), (kind, exchanges) => {
        const frame = new PartFrame(kind);
        for (const [turn, values] of exchanges) {
          const payload = crypto.getRandomValues(frame.payload(values));
          const decoded = decodeFrame(frame.seal(turn, values));
          const message = { kind: "partial" as const, turn, ...kind, shape: [values], byteLength: payload.byteLength };
          assertEquals(parseMessage(peerFrameSchema, decoded.message), message);
          assertEquals([...decoded.payload], [...payload]);
        }
      }),
      { seed: SEED },
    );
  });

  it("matches those frames that decoding would find to be of the same exchange, and no others", () => {
    fc.assert(
      fc.property(partKinds, turns, sizes, partKinds, turns, sizes, fc.boolean(), (kind, turn, values, otherKind, otherTurn, otherValues, same) => {
        const [own, other] = [new PartFrame(kind), new PartFrame(same ? kind : otherKind)];
        own.seal(turn, values);
        const frame = same ? other.seal(turn, values) : other.seal(otherTurn, otherValues);
        const [mine, theirs] = [own.seal(turn, values), frame].map((bytes) => JSON.stringify(decodeFrame(bytes).message));
        assertEquals(own.matches(frame), mine === theirs);
        // Packed as short as can be, it means the same and must be decoded.
        assert(!own.matches(encodeFrame(JSON.parse(mine), new Uint8Array(3))));
        assert(!own.matches(frame.slice(0, PAYLOAD_ALIGNMENT)));
      }),
      { seed: SEED },
    );
  });
});

describe("a mailbox", () => {
  it("keeps what lanes and ranks give each other apart, and answers in order", async () => {
    const random = new Random();
    const shape: MailboxShape = { ranks: 3, lanes: 2, mostValues: 1000, wire: "f32" };
    const near = new SumMailbox(shape);
    const far = new SumMailbox(shape, near.memory);
    // Who waits for memory alone keeps no event loop going; a rank has its thread, and a thread its sockets.
    const alive = setInterval(() => {}, 1000);
    for (const lane of far.lanes) {
      void lane.serve(0, async (values, whole) => {
        await new Promise((resolve) => setTimeout(resolve, random.below(3)));
        for (const other of [0, 1]) lane.part(other, values).set(lane.own(values).map((byte) => byte + other + 1));
        lane.reply(whole === 1 ? "failed" : "parts");
      });
    }
    await Promise.all(near.lanes.map(async (lane, index) => {
      for (const values of [1000, 1, 61, 1000]) {
        lane.own(values).fill(index * 10);
        lane.ask(values, values);
        while (lane.outcome === null) await lane.wait();
        assertEquals(lane.outcome, values === 1 ? "failed" : "parts");
        for (const other of [0, 1]) assert(lane.part(other, values).every((byte) => byte === index * 10 + other + 1));
        assert(lane.own(values).every((byte) => byte === index * 10));
      }
    }));
    clearInterval(alive);
  });
});

/** A rank whose only peer is this test, and the link of sums between them. */
async function withLyingPeer(
  play: (rank: Membership, send: (frame: Uint8Array<ArrayBuffer>) => void, broken: string[]) => Promise<void>,
): Promise<void> {
  const transport = new DenoTransport();
  const directory = await Deno.makeTempDir();
  const address = `unix:${directory}/r0`;
  const secret = crypto.getRandomValues(new Uint8Array(32));
  const broken: string[] = [];
  const rank = new Membership(
    { worker: "r0", role: "decode", rank: 0, ranks: 2 },
    transport,
    {
      wire: "f32",
      exchange: "websocket",
      deadlineMs: 2000,
      lanes: 1,
      sumValues: 64,
      sumThread: { listen: sumsAddress(address), advertise: (address) => address, tls: {}, spare: false },
    },
    () => {},
    (worker, reason) => broken.push(`${worker}: ${reason.message}`),
  );
  const listener = await transport.listen(address, async (socket) => {
    rank.accept(await acceptLink(socket, (peer) => rank.secretOf(peer)));
  });
  rank.join({ epoch: 2, peers: [{ worker: "r1", rank: 1, address: "unix:/nowhere", secret }] });
  const identity = { worker: "r1", role: "decode" as const };
  const link = await connectLink(await transport.connect(address), identity, secret, "r0");
  const sums = Promise.withResolvers<string>();
  link.listen(({ message }) => sums.resolve((message as Extract<PeerFrame, { kind: "sums" }>).address!));
  const connected = rank.connect();
  link.send({ kind: "sums", epoch: 2, address: "unix:/nowhere" } satisfies PeerFrame);
  const sumLink = await connectLink(await transport.connect(await sums.promise), identity, secret, "r0");
  await connected;
  await play(rank, (frame) => sumLink.sendFrame(frame), broken);
  rank.leave();
  await Promise.all([link.closed, sumLink.closed]);
  await listener.close();
  await Deno.remove(directory, { recursive: true });
}

describe("a thread of sums", () => {
  it("sums with whoever speaks as ranks do, however the message is packed, and counts what it sends", () =>
    withLyingPeer(async (rank, send) => {
      const [collective] = rank.collectives;
      const before = rank.traffic;
      for (let turn = 1; turn <= 3; turn++) {
        const values = Float32Array.of(turn, 7);
        send(encodeFrame({ kind: "partial", lane: 0, epoch: 2, turn, dtype: "f32", shape: [2], byteLength: 8 }, values));
        collective.input(2).fill(0);
        const exchanged = await collective.exchange(2);
        assert("parts" in exchanged);
        assertEquals([...new Float32Array(exchanged.parts[0]!.slice().buffer)], [...values]);
      }
      const bytes = 3 * (PAYLOAD_ALIGNMENT + 8);
      assertEquals([rank.traffic.sent - before.sent, rank.traffic.received - before.received], [bytes, bytes]);
      assertEquals([collective.exchanges, collective.takeWaits().length], [3, 3]);
    }));

  const lies: [message: object, payload: number, problem: string][] = [
    [{ epoch: 1, turn: 1, shape: [8], byteLength: 32 }, 32, "Epoch 1 is over"],
    [{ epoch: 2, turn: 1, shape: [9], byteLength: 36 }, 36, "f32 [9] where f32 [8]"],
    [{ epoch: 2, turn: 1, shape: [8], byteLength: 32 }, 28, "announces 32 and brings 28"],
    [{ epoch: 2, turn: 4, shape: [8], byteLength: 32 }, 32, "at exchange 4 where 1 is due"],
    [{ epoch: 2, turn: 1, lane: 1, shape: [8], byteLength: 32 }, 32, "no lane 1"],
    [{ epoch: 2, turn: 1, shape: [8], byteLength: 32, extra: 1 }, 32, "extra"],
  ];
  for (const [message, payload, problem] of lies) {
    it(`ends the link of a rank that lies: ${problem}`, () =>
      withLyingPeer(async (rank, send, broken) => {
        const [collective] = rank.collectives;
        send(encodeFrame({ kind: "partial", lane: 0, dtype: "f32", ...message }, new Uint8Array(payload)));
        collective.input(8);
        const error = await assertRejects(async () => await collective.exchange(8), LatentmeshError);
        assert([error.message, ...broken].some((text) => text.includes(problem)), `${error.message}; ${broken}`);
        // What comes after is refused at once.
        await assertRejects(async () => (collective.input(8), await collective.exchange(8)), LatentmeshError);
      }));
  }

  it("is sent parts over its own links alone", () =>
    withLyingPeer(async (rank, _, broken) => {
      const [collective] = rank.collectives;
      await assertRejects(async () => await collective.receive(1, {} as never, new Uint8Array()), LatentmeshError, "another link");
      assertEquals(broken, []);
    }));
});
