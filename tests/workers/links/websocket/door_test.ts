/**
 * The door that workers of other hosts come to: what strangers may do, and what they may not.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { MAX_FRAME_BYTES, MAX_HANDSHAKE_BYTES } from "../../../../core/wire/protocol.ts";
import type { Socket } from "../../../../core/wire/transport.ts";
import { Door } from "../../../../workers/links/websocket/door.ts";
import { Patience } from "../../../../workers/links/websocket/patience.ts";
import { DenoTransport } from "../../../../workers/links/transport.ts";
import { until } from "../../../../bench/support/until.ts";
import { ROOT } from "../../../../bench/support/root.ts";
import { RawClient } from "../../../support/raw_client.ts";
import { Random, SEED } from "../../../../bench/support/random.ts";

const UPGRADE = [
  "GET / HTTP/1.1",
  "host: x",
  "upgrade: websocket",
  "connection: upgrade",
  "sec-websocket-version: 13",
  "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
];
const request = (lines: readonly string[]) => [...lines, "", ""].join("\r\n");

/** A frame as a client sends it. @param claimed the length that it says it has */
function frame(
  opcode: number,
  payload: Uint8Array,
  { claimed = payload.length, first = 0x80 | opcode, masked = true } = {},
): Uint8Array<ArrayBuffer> {
  const length = claimed < 126
    ? [claimed]
    : claimed < 65536
    ? [126, claimed >> 8, claimed & 255]
    : [127, ...new Uint8Array(new BigUint64Array([BigInt(claimed)]).buffer).reverse()];
  const mask = [1, 2, 3, 4];
  return Uint8Array.from([
    first,
    (masked ? 128 : 0) | length[0],
    ...length.slice(1),
    ...(masked ? mask : []),
    ...payload.map((byte, i) => masked ? byte ^ mask[i & 3] : byte),
  ]);
}

interface Test {
  readonly port: number;
  readonly sockets: Socket[];
  readonly messages: unknown[];
  readonly closes: number[];
  client(): Promise<RawClient>;
}

async function withDoor(test: (door: Test) => Promise<void>, options: { trust?: boolean; timeout?: number } = {}): Promise<void> {
  const sockets: Socket[] = [];
  const messages: unknown[] = [];
  const closes: number[] = [];
  const door = new Door({ hostname: "127.0.0.1", port: 0 }, null, (socket) => {
    sockets.push(socket);
    socket.onmessage = ({ data }) => messages.push(data instanceof ArrayBuffer ? [...new Uint8Array(data)] : data);
    const closed = new Promise<void>((resolve) =>
      socket.onclose = ({ code }) => {
        closes.push(code);
        resolve();
      }
    );
    if (options.trust ?? true) socket.trust!();
    return options.trust ?? true ? Promise.resolve() : closed;
  }, options.timeout);
  const clients: RawClient[] = [];
  try {
    await test({
      port: door.address.port,
      sockets,
      messages,
      closes,
      async client() {
        const client = await RawClient.connect(door.address.port);
        clients.push(client);
        await client.send(request(UPGRADE));
        assertStringIncludes(await client.until("\r\n\r\n"), "101 Switching");
        return client;
      },
    });
  } finally {
    for (const client of clients) client.close();
    await until(() => closes.length === sockets.length);
    await door.close();
  }
}

describe("a door on the network", () => {
  it("opens for WebSockets of workers, and for no browser and nothing else", () =>
    withDoor(async (door) => {
      const answer = async (lines: readonly string[]) => {
        using client = await RawClient.connect(door.port);
        await client.send(request(lines));
        return (await client.rest()).split("\r\n")[0];
      };
      assertEquals(await answer(["GET / HTTP/1.1", "host: x"]), "HTTP/1.1 426 Upgrade Required");
      assertEquals(await answer([...UPGRADE, "origin: https://evil.example"]), "HTTP/1.1 403 Forbidden");
      assertEquals(await answer(["nonsense"]), "HTTP/1.1 400 Bad Request");
      assertEquals(await answer([...UPGRADE, `x: ${"y".repeat(5000)}`]), "HTTP/1.1 400 Bad Request");
      const client = await door.client();
      await client.send(frame(2, Uint8Array.of(1, 2, 3)));
      await until(() => door.messages.length === 1);
      assertEquals(door.messages, [[1, 2, 3]]);
      door.sockets[0].close();
    }));

  it("delivers messages as they were, however the wire cuts them", async () => {
    const random = new Random();
    const payloads = [0, 1, 125, 126, 65535, 65536, 200_000].map((length) => random.bytes(length));
    await withDoor(async (door) => {
      const client = await door.client();
      const wire = payloads.flatMap((payload) => [...frame(2, payload)]);
      for (let at = 0; at < wire.length;) {
        const size = 1 + random.below(random.below(3) === 0 ? 3 : 60_000);
        await client.send(Uint8Array.from(wire.slice(at, at + size)));
        at += size;
      }
      await until(() => door.messages.length === payloads.length);
      door.messages.forEach((message, i) => assertEquals(message as number[], [...payloads[i]]));
    });
  });

  it("cuts who breaks the protocol, with a word", async () => {
    const broken: [what: string, bytes: Uint8Array<ArrayBuffer>][] = [
      ["a frame that is not masked", frame(2, Uint8Array.of(1), { masked: false })],
      ["a message in pieces", frame(2, Uint8Array.of(1), { first: 2 })],
      ["a piece of none", frame(0, Uint8Array.of(1))],
      ["compression", frame(2, Uint8Array.of(1), { first: 0xc2 })],
      ["a kind that does not exist", frame(5, Uint8Array.of(1))],
      ["a ping that is too long", frame(9, new Uint8Array(126))],
      ["a frame that is too long", frame(2, new Uint8Array(), { claimed: MAX_FRAME_BYTES + 1 })],
      ["one longer than numbers go", frame(2, new Uint8Array(), { claimed: 2 ** 60 })],
    ];
    for (const [what, bytes] of broken) {
      await withDoor(async (door) => {
        const client = await door.client();
        await client.send(bytes);
        const rest = await client.rest();
        assert(rest.charCodeAt(0) !== 0 && rest.length > 4, `${what}: ${JSON.stringify(rest)}`);
      });
    }
    await withDoor(async (door) => {
      const client = await door.client();
      await client.send(frame(9, Uint8Array.of(65)));
      assertStringIncludes(await client.until("A"), "A");
      await client.send(frame(1, new TextEncoder().encode("text")));
      await until(() => door.messages.length === 1);
      assertEquals(door.messages, ["text"]);
    });
  });

  it("holds next to nothing for a stranger: a message beyond a handshake's is cut when it is announced", () =>
    withDoor(async (door) => {
      for (const claimed of [MAX_HANDSHAKE_BYTES + 1, 59 << 20]) {
        const client = await door.client();
        await client.send(frame(2, new Uint8Array(8), { claimed }));
        await client.rest();
      }
      assertEquals([door.messages, door.closes.length], [[], 2]);
    }, { trust: false }));

  it("ends who takes too long, at whatever point", () =>
    withDoor(async (door) => {
      for (const text of ["", "GET / HT", request(UPGRADE), `${request(UPGRADE)}\x82`]) {
        using client = await RawClient.connect(door.port);
        await client.send(text);
        await client.rest();
      }
    }, { trust: false, timeout: 300 }));

  it("ends who does not end a connection that is closed", () =>
    // Long enough for whoever comes, on a machine that does much else, too.
    withDoor(async (door) => {
      const client = await door.client();
      await until(() => door.sockets.length === 1);
      door.sockets[0].close(4400, "go");
      await client.rest();
    }, { trust: false, timeout: 1500 }));

  it("survives noise where TLS is expected, and who ends it before it has begun", async () => {
    const directory = `${ROOT}/tests/support/tls`;
    const [cert, key] = ["cert", "key"].map((name) => Deno.readTextFileSync(`${directory}/${name}.pem`));
    const transport = new DenoTransport({ cert, key, ca: cert });
    const met: Socket[] = [];
    const listener = await transport.listen("wss://127.0.0.1:0", (socket) => {
      met.push(socket);
      socket.trust!();
      return Promise.resolve();
    });
    const port = Number(new URL(listener.address).port);
    const random = new Random();
    for (const noise of [new Uint8Array(), random.bytes(5), Uint8Array.of(22, 3, 1, 2, 0, ...random.bytes(512)), random.bytes(20_000)]) {
      using client = await RawClient.connect(port);
      await client.send(noise).catch(() => {});
    }
    const socket = await transport.connect(listener.address);
    assertEquals(met.length, 1);
    const closed = new Promise((resolve) => socket.onclose = resolve);
    met[0].close();
    await closed;
    await listener.close();
  });

  it("survives noise", async () => {
    const noise = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 });
    for (const trust of [true, false]) {
      await withDoor(async (door) => {
        await fc.assert(
          fc.asyncProperty(noise, async (pieces) => {
            const client = await door.client();
            for (const piece of pieces) await client.send(Uint8Array.from(piece)).catch(() => {});
            client.close();
          }),
          { seed: SEED, numRuns: trust ? 40 : 4 },
        );
      }, { trust });
    }
  });
});

describe("patience with an address", () => {
  it("grows shorter with every failure, and comes back with time and with success", () => {
    let now = 0;
    const patience = new Patience(() => now);
    assertEquals(patience.delay("a"), 0);
    const waits = Array.from({ length: 8 }, () => {
      patience.failed("a");
      return patience.delay("a");
    });
    assertEquals(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
    assertEquals(patience.delay("b"), 0);
    now += 500;
    assertEquals(patience.delay("a"), 1500);
    now += 30_000;
    assertEquals(patience.delay("a"), 0);
    patience.failed("a");
    assertEquals(patience.delay("a"), 50);
    patience.succeeded("a");
    assertEquals(patience.delay("a"), 0);
  });

  it("remembers no more addresses than it must", () => {
    const patience = new Patience(() => 0);
    for (let i = 0; i < 5000; i++) patience.failed(`${i}`);
    assertEquals([patience.delay("0"), patience.delay("4999")], [0, 50]);
  });
});
