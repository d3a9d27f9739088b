/**
 * What processes send each other, before and after they have proved who they are.
 *
 * @module
 */
import type { Connection } from "../../../core/net/connection.ts";
import { ConnectionReader } from "../../../core/net/connection.ts";
import { decodeFrame, encodeFrame } from "../../../core/wire/codec.ts";
import { authenticate, greet, type HandshakeChannel } from "../../../core/wire/handshake.ts";
import { checkMessagePack } from "../../../core/wire/limits.ts";
import { noticeSchema, parseMessage, peerFrameSchema, replySchema, requestSchema } from "../../../core/wire/messages.ts";
import { decodeAnswers, decodePrompt, decodeStep, decodeTables, encodePrompt, encodeStep, encodeTables } from "../../../core/wire/queries.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { ServerSocket } from "../../../workers/links/websocket/server_socket.ts";
import type { Random } from "../../../bench/support/random.ts";
import { anyValue, mutateBytes, mutateJson, pick } from "../mutate.ts";
import { named, type Target } from "../target.ts";

const secret = new Uint8Array(32).fill(7);
const adjustments = [{ token: 3, repetition: 1, addend: -1 }];
const query = { key: 1, position: 2, inverseTemperature: 1, plain: 4, adjusted: 4, base: 0, changes: adjustments, mask: 1, draw: true };
const step = new Uint8Array(encodeStep([{ sequence: 1, token: 2, position: 3 }], [query]).buffer);
const tables = new Uint8Array(encodeTables([adjustments], [Uint32Array.of(1, 2)]).buffer);
const prompt = new Uint8Array(encodePrompt([1, 2, 3], [query]).buffer);

const MESSAGES: readonly (readonly [message: object, payload?: Uint8Array<ArrayBuffer>])[] = [
  [{ kind: "hello", host: "b", pid: 1, address: "ws://x:1", device: { kind: "cpu", description: "d" }, modelHash: "a".repeat(64), basisHash: null }],
  [{ kind: "join", id: 1, epoch: 2, peers: [{ worker: "w", rank: 0, address: "unix:/x", secret }] }],
  [{ kind: "open", id: 1, epoch: 1, sequence: 1, tokens: 70, from: 64, blocks: [1, 2] }],
  [{ kind: "step", id: 1, epoch: 1, rows: 1, asks: 1, forks: [{ sequence: 2, from: 1, tokens: 64, blocks: [3] }], grow: [] }, step],
  [{ kind: "draft", id: 1, epoch: 1, rows: 1, ahead: false, grow: [{ sequence: 1, blocks: [4] }] }, step],
  [
    {
      kind: "prefill",
      id: 1,
      epoch: 1,
      sequence: 1,
      begin: null,
      start: 0,
      tokens: 3,
      layers: { first: 0, end: 2 },
      last: true,
      awaited: true,
      asks: 1,
      promptLogprobs: null,
      following: null,
    },
    prompt,
  ],
  [{ kind: "tables", id: 1, epoch: 1, adjustments: [1], masks: [2] }, tables],
  [{ kind: "candidates", id: 1, totalMs: 1, waitsMs: [1, 2], handoffMs: 0 }, new Uint8Array(64)],
  [{ kind: "failed", id: 1, code: "timeout", message: "m", silent: null }],
  [{ kind: "partial", lane: 0, turn: 1, epoch: 1, dtype: "f32", shape: [2], byteLength: 8 }, new Uint8Array(8)],
  [{ kind: "latents", sequence: 1, layer: 0, range: [0, 1], epoch: 1, dtype: "f16", shape: [1, 2], byteLength: 4 }, new Uint8Array(4)],
];
const FRAMES = MESSAGES.map(([message, payload]) => encodeFrame(message, payload));

/** Frames of peers that have proved who they are: decoded, parsed, and their payloads taken apart. */
export const frames: Target = {
  name: "frames",
  async run(random) {
    const bytes = frameOf(random);
    const frame = await named(() => decodeFrame(bytes));
    if (frame === null) return;
    for (const schema of [requestSchema, replySchema, noticeSchema, peerFrameSchema]) await named(() => parseMessage(schema, frame.message));
    // A view at another offset is what sockets give; payloads are whole words there.
    const payload = frame.payload.slice(0, frame.payload.length & ~3);
    await named(() => decodeStep(payload, random.below(4), random.below(4)));
    await named(() => decodePrompt(payload, random.below(4), random.below(4)));
    await named(() => decodeTables(payload, [random.below(4)], [random.below(4)]));
    await named(() =>
      decodeAnswers(payload, {
        queries: [{ plain: random.below(4), adjusted: 0 }],
        prompt: random.below(3),
        promptCandidates: 2,
        sums: random.below(3),
      })
    );
  },
};

function frameOf(random: Random): Uint8Array<ArrayBuffer> {
  const [message, payload] = pick(random, MESSAGES);
  try {
    switch (random.below(3)) {
      case 0:
        return encodeFrame(mutateJson(random, message) as object ?? {}, random.below(2) === 0 ? payload : undefined);
      case 1:
        return encodeFrame({ x: anyValue(random, 3) }, random.bytes(random.below(80)));
    }
  } catch {
    // It would be too large to be sent.
  }
  return mutateBytes(random, encodeFrame(message, payload));
}

/** Bare MessagePack: what passes the check is decoded without harm. */
export const messagePack: Target = {
  name: "messagepack",
  async run(random) {
    const bytes = random.below(2) === 0 ? random.bytes(1 + random.below(60)) : mutateBytes(random, pick(random, FRAMES).subarray(4));
    if (await named(() => checkMessagePack(bytes) ?? true) === null) return;
    const frame = new Uint8Array(4 + bytes.length);
    new DataView(frame.buffer).setUint32(0, bytes.length, true);
    frame.set(bytes, 4);
    await named(() => decodeFrame(frame));
  },
};

/** A channel on which a stranger answers with what was said before, changed. */
function strangeChannel(random: Random, said: readonly Uint8Array[]): HandshakeChannel {
  const heard: Uint8Array[] = [...said];
  return {
    send: (frame) => void heard.push(frame),
    next: () =>
      random.below(12) === 0 ? Promise.reject(new LatentmeshError("worker_lost", "gone")) : Promise.resolve(mutateBytes(random, pick(random, heard))),
  };
}

const HANDSHAKE = await recordHandshake();

/** Frames of a handshake that went well. */
async function recordHandshake(): Promise<readonly Uint8Array<ArrayBuffer>[]> {
  const said: Uint8Array<ArrayBuffer>[] = [];
  const inboxes: Uint8Array<ArrayBuffer>[][] = [[], []];
  const wakes: (() => void)[] = [() => {}, () => {}];
  const side = (own: number): HandshakeChannel => ({
    send(frame) {
      said.push(frame);
      inboxes[1 - own].push(frame);
      wakes[1 - own]();
    },
    async next() {
      while (inboxes[own].length === 0) await new Promise<void>((resolve) => wakes[own] = resolve);
      return inboxes[own].shift()!;
    },
  });
  await Promise.all([greet(side(0), { worker: "w", role: "worker" }, secret), authenticate(side(1), () => secret)]);
  return said;
}

/** Handshakes with strangers, on either side: nobody gets in. */
export const handshakes: Target = {
  name: "handshakes",
  async run(random) {
    const channel = strangeChannel(random, HANDSHAKE);
    const met = await named(async () => {
      if (random.below(2) === 0) await greet(channel, { worker: "w", role: "worker" }, secret);
      else await authenticate(channel, () => secret);
      return true;
    });
    if (met !== null) throw new Error("a stranger got in");
  },
};

/** Bytes of a WebSocket: whatever comes, the socket ends and holds nothing. */
export const webSockets: Target = {
  name: "websockets",
  async run(random) {
    const good = [0x82, 0x85, 1, 2, 3, 4, ...[1, 2, 3, 4, 5].map((byte, i) => byte ^ (i % 4 + 1)), 0x89, 0x80, 1, 2, 3, 4, 0x88, 0x80, 1, 2, 3, 4];
    const bytes = mutateBytes(random, Uint8Array.from(good));
    let at = 0;
    let cut = false;
    const connection: Connection = {
      read(into) {
        if (cut || at >= bytes.length) return Promise.resolve(null);
        const count = Math.min(into.length, bytes.length - at, 1 + random.below(9));
        into.set(bytes.subarray(at, at + count));
        at += count;
        return Promise.resolve(count);
      },
      write: (piece) => Promise.resolve(piece.length),
      close() {},
    };
    const socket = new ServerSocket(connection, new ConnectionReader(connection), "fuzz", { cut: () => cut = true, trusted() {} });
    let closed = 0;
    socket.onclose = () => closed++;
    if (random.below(2) === 0) socket.trust();
    await socket.run();
    if (closed !== 1 || !cut) throw new Error(`closed ${closed} times, ${cut ? "" : "not "}cut`);
  },
};
