/**
 * Links over real sockets: who is let in, who is not, and what ends a link.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { encodeFrame } from "../../../core/wire/codec.ts";
import { greet, type HandshakeChannel } from "../../../core/wire/handshake.ts";
import { acceptLink, connectLink, Link } from "../../../core/wire/link.ts";
import { PROTOCOL_VERSION } from "../../../core/wire/protocol.ts";
import { RpcClient, serveRequests } from "../../../core/wire/rpc.ts";
import type { Socket } from "../../../core/wire/transport.ts";
import { DenoTransport } from "../../../workers/links/transport.ts";

const SECRET = crypto.getRandomValues(new Uint8Array(32));
const ME = { worker: "decode-0/1", role: "decode" } as const;
const transport = new DenoTransport();

interface Door {
  readonly address: string;
  /** Links that were let in, and errors of those that were not, in order. */
  next(): Promise<Link | LatentmeshError>;
}

/** Listens on both kinds of addresses in turn. */
async function withDoors(test: (door: Door) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  for (const address of [`unix:${directory}/door.sock`, "ws://127.0.0.1:0"]) {
    const arrived: (Link | LatentmeshError)[] = [];
    let wake = () => {};
    const listener = await transport.listen(address, (socket) => {
      return acceptLink(socket, ({ worker }) => worker === ME.worker ? SECRET : null).catch((error) => error).then((outcome) => {
        arrived.push(outcome);
        wake();
      });
    });
    await test({
      address: listener.address,
      async next() {
        if (arrived.length === 0) await new Promise<void>((resolve) => wake = resolve);
        return arrived.shift()!;
      },
    });
    for (const link of arrived) if (!(link instanceof LatentmeshError)) link.close();
    await listener.close();
  }
  await Deno.remove(directory, { recursive: true });
}

async function open(door: Door): Promise<[client: Link, server: Link]> {
  const client = await connectLink(await transport.connect(door.address), ME, SECRET);
  const server = await door.next();
  assert(!(server instanceof LatentmeshError), String(server));
  return [client, server];
}

async function shut(...links: Link[]): Promise<void> {
  for (const link of links) link.close();
  await Promise.all(links.map((link) => link.closed));
}

describe("links", () => {
  it("open for who holds the secret and carry frames both ways", () =>
    withDoors(async (door) => {
      const [client, server] = await open(door);
      assertEquals(server.identity, ME);
      const seen = new Promise<number>((resolve) => server.listen(({ payload }) => resolve(payload.length)));
      client.send({ kind: "x" }, new Uint8Array(100_000));
      assertEquals(await seen, 100_000);
      const back = new Promise<unknown>((resolve) => client.listen(({ message }) => resolve(message)));
      server.send({ kind: "y" });
      assertEquals(await back, { kind: "y" });
      await shut(client, server);
    }));

  it("turn a wrong token and an unknown name away, by name and alike", () =>
    withDoors(async (door) => {
      const wrong = crypto.getRandomValues(new Uint8Array(32));
      await assertRejects(async () => await connectLink(await transport.connect(door.address), ME, wrong), LatentmeshError, "wrong token");
      assert(String(await door.next()).includes('decode "decode-0/1": wrong token'));
      const stranger = { worker: "stranger", role: "worker" } as const;
      await assertRejects(async () => await connectLink(await transport.connect(door.address), stranger, SECRET), LatentmeshError, "wrong token");
      assert(String(await door.next()).includes('worker "stranger": it is not expected here'));
      await shut(...await open(door));
    }));

  it("name the versions that do not fit", () =>
    withDoors(async (door) => {
      const socket = await transport.connect(door.address);
      await assertRejects(() => greet(rawChannel(socket), ME, SECRET, PROTOCOL_VERSION + 7), LatentmeshError, "version");
      const error = await door.next();
      assert(String(error).includes(`Protocol version ${PROTOCOL_VERSION + 7} meets version ${PROTOCOL_VERSION}`), String(error));
      socket.close();
    }));

  it("read no MessagePack and no large frame before the proof", () =>
    withDoors(async (door) => {
      for (const first of [encodeFrame({ kind: "hello" }), new Uint8Array(257), new Uint8Array(0)]) {
        const socket = await transport.connect(door.address);
        socket.binaryType = "arraybuffer";
        const closed = new Promise<number>((resolve) => socket.onclose = ({ code }) => resolve(code));
        socket.send(first);
        const error = await door.next();
        assert(error instanceof LatentmeshError && error.code === "protocol", String(error));
        assertEquals(await closed, 4400);
      }
    }));

  it("are bounded while they have not said who they are; over the network, who came first makes room", () =>
    withDoors(async (door) => {
      const silent = await Promise.all(Array.from({ length: 64 }, () => transport.connect(door.address)));
      const ended = silent.map((socket) => new Promise((resolve) => socket.onclose = resolve));
      if (door.address.startsWith("unix:")) {
        const late = await transport.connect(door.address);
        assertEquals(await new Promise<number>((resolve) => late.onclose = ({ code }) => resolve(code)), 1013);
      } else {
        const client = await connectLink(await transport.connect(door.address), ME, SECRET);
        await ended[0];
        assert(await door.next() instanceof LatentmeshError);
        const server = await door.next();
        assert(!(server instanceof LatentmeshError), String(server));
        await shut(client, server);
        silent.shift();
      }
      for (const socket of silent) socket.close();
      for (const _ of silent) assert(await door.next() instanceof LatentmeshError);
      await shut(...await open(door));
    }));

  it("end with the reason when the other side breaks protocol", () =>
    withDoors(async (door) => {
      const [client, server] = await open(door);
      server.listen(() => {});
      client.sendFrame(Uint8Array.of(9, 0, 0, 0, 0xc1));
      const reason = await client.closed;
      assertEquals(reason.code, "protocol");
      assert(reason.message.includes("truncated"), reason.message);
      await server.closed;
    }));

  it("take no more than is asked for before the proof, and not much before anybody listens", async () => {
    const socket = silentSocket();
    const accepted = acceptLink(socket, () => SECRET);
    for (let i = 0; i < 6; i++) socket.onmessage!({ data: new ArrayBuffer(200) });
    await assertRejects(() => accepted, LatentmeshError);
    assertEquals(socket.closed.length, 1);
    const early = silentSocket();
    const link = new Link(early, ME);
    for (let i = 0; i < 100; i++) early.onmessage?.({ data: encodeFrame({ kind: "x" }).buffer });
    assertEquals([link.open, (await link.closed).code, link.counters.receivedFrames], [false, "protocol", 65]);
  });

  it("answer requests, report failures, and fail what is pending when they end", () =>
    withDoors(async (door) => {
      const [client, server] = await open(door);
      const ended = Promise.withResolvers<never>();
      serveRequests(client, (request) => {
        if (request.kind === "probe") return Promise.resolve({ kind: "done" });
        if (request.kind === "row") return Promise.reject(new LatentmeshError("capacity", "no rows"));
        return ended.promise;
      });
      const rpc = new RpcClient(server, () => {});
      assertEquals((await rpc.call("probe", { epoch: 1 }, "done")).reply.kind, "done");
      const failure = await assertRejects(() => rpc.call("row", { epoch: 1, index: 0 }, "row"), LatentmeshError, "no rows");
      assertEquals(failure.code, "capacity");
      await assertRejects(
        () => rpc.call("stats", {}, "stats", { deadlineMs: 20 }),
        LatentmeshError,
        'decode-0/1 did not answer "stats" within 20 ms',
      );
      const pending = assertRejects(() => rpc.call("stats", {}, "stats"), LatentmeshError);
      client.close();
      await pending;
      await server.closed;
      ended.reject(new Error("over"));
      await assertRejects(() => rpc.call("probe", { epoch: 1 }, "done"), LatentmeshError);
    }));
});

/** A socket that says nothing. */
function silentSocket(): Socket & { readonly closed: (number | undefined)[] } {
  const closed: (number | undefined)[] = [];
  return { binaryType: "", onmessage: null, onclose: null, onerror: null, send: () => {}, close: (code) => closed.push(code), closed };
}

/** A socket as a handshake channel, without any checks. */
function rawChannel(socket: Socket): HandshakeChannel {
  socket.binaryType = "arraybuffer";
  const frames: Uint8Array<ArrayBuffer>[] = [];
  let wake = () => {};
  socket.onmessage = ({ data }) => {
    frames.push(new Uint8Array(data as ArrayBuffer));
    wake();
  };
  return {
    send: (frame) => socket.send(frame),
    async next() {
      if (frames.length === 0) await new Promise<void>((resolve) => wake = resolve);
      return frames.shift()!;
    },
  };
}
