/**
 * One worker against a coordinator and a prefill worker that lie: it refuses by name and goes on.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { acceptLink, connectLink, type Link } from "../../../core/wire/link.ts";
import type { Assignment, Hello, Notice } from "../../../core/wire/messages.ts";
import { decodeAnswers, encodePrompt, encodeStep, type QueryFrame } from "../../../core/wire/queries.ts";
import { RpcClient } from "../../../core/wire/rpc.ts";
import { ClusterWorker } from "../../../workers/process/cluster_worker.ts";
import { DenoTransport } from "../../../workers/links/transport.ts";
import { until } from "../../../bench/support/until.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

const TOKEN = new TextEncoder().encode("a token for tests only");
const CUT = { ranks: 1, latentGroups: 1, halo: 0, feedForward: "sharded" as const };
const QUERY: QueryFrame = { key: 1, position: 3, inverseTemperature: 1, plain: 4, adjusted: 0, base: 0, changes: [], mask: null, draw: false };

const assignment: Assignment = {
  role: "decode",
  unit: "decode-0",
  rank: 0,
  cut: CUT,
  decode: CUT,
  basis: null,
  paper: false,
  mu: 1,
  mtp: false,
  weights: "keep",
  cacheDtype: "f32",
  maxTokens: 256,
  maxContext: 128,
  maxSequences: 2,
  limits: { prefillRows: 1, decodeRows: 1, window: 64, logitRows: 1 },
  lanes: 1,
  wire: "f32",
  exchange: "auto",
  deadlineMs: 1000,
};

/** A worker with this test as its coordinator. */
async function withWorker(test: (rpc: RpcClient, hello: Hello, notices: Notice[]) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  const transport = new DenoTransport();
  const notices: Notice[] = [];
  const arrived = Promise.withResolvers<RpcClient>();
  const listener = await transport.listen(`unix:${directory}/coordinator`, async (socket) => {
    arrived.resolve(new RpcClient(await acceptLink(socket, () => TOKEN), (notice) => notices.push(notice)));
  });
  const worker = await ClusterWorker.join({
    worker: "decode-0.0/1",
    coordinator: listener.address,
    token: TOKEN,
    listen: `unix:${directory}/worker`,
    host: "local",
    model: fixtureDirectory("deepseek-v3-tiny"),
    device: "cpu",
  }, transport);
  const rpc = await arrived.promise;
  await until(() => notices.length > 0);
  try {
    await test(rpc, notices[0] as Hello, notices);
  } finally {
    rpc.link.close();
    await worker.close();
    await listener.close();
    await Deno.remove(directory, { recursive: true });
  }
}

describe("a mixed worker", () => {
  const limits = { prefillRows: 64, decodeRows: 2, window: 64, logitRows: 64 };
  const mixed: Assignment = { ...assignment, role: "mixed", unit: "mixed-0", limits };
  const chunk = (tokens: number, change: object = {}) => ({
    epoch: 1,
    sequence: 1,
    begin: { length: 3, blocks: [0], target: null, stays: true },
    start: 0,
    tokens,
    layers: { first: 0, end: 3 },
    last: true,
    awaited: true,
    asks: 1,
    promptLogprobs: null,
    following: null,
    ...change,
  });

  it("generates from where it has computed a prompt, takes nothing over, hands nothing over, and gives its blocks back", () =>
    withWorker(async (rpc) => {
      await rpc.call("assign", { assignment: mixed }, "assigned");
      await rpc.call("join", { epoch: 1, peers: [] }, "done");
      await rpc.call("connect", { epoch: 1 }, "connected");
      await assertRejects(() => rpc.call("row", { epoch: 1, index: 0 }, "row"), LatentmeshError, "Nothing was asked");
      await assertRejects(
        () => rpc.call("open", { epoch: 1, sequence: 1, tokens: 3, from: 0, blocks: [0] }, "done"),
        LatentmeshError,
        "A mixed rank was asked to take a prompt over",
      );
      await assertRejects(() => rpc.call("handed", { epoch: 1, sequence: 1 }, "done"), LatentmeshError, "A mixed rank hands nothing over");
      const held = async () => {
        const { stats } = (await rpc.call("stats", {}, "stats")).reply;
        return [stats.sequences, stats.freeBlocks, stats.parts.prefill.steps, stats.parts.decode.steps];
      };
      const payload = encodePrompt([5, 6, 7], [QUERY]);
      const step = { epoch: 1, rows: 1, asks: 1, forks: [], behind: null, grow: [] };
      const next = (position: number) => encodeStep([{ sequence: 1, token: 5, position }], [QUERY]);
      // Not before its last chunk is computed.
      await rpc.call("prefill", chunk(2, { last: false, asks: 0 }), "candidates", { payload: encodePrompt([5, 6], []) });
      await assertRejects(() => rpc.call("step", step, "candidates", { payload: next(2) }), LatentmeshError, "Sequence 1 is not open");
      const third = encodePrompt([7], [QUERY]);
      await rpc.call("prefill", chunk(1, { begin: null, start: 2 }), "candidates", { payload: third });
      const { payload: promptRow } = await rpc.call("row", { epoch: 1, index: 0 }, "row");
      await rpc.call("step", step, "candidates", { payload: next(3) });
      const { payload: stepRow } = await rpc.call("row", { epoch: 1, index: 0 }, "row");
      assert(promptRow.some((byte, i) => byte !== stepRow[i]), "each has logits of its own");
      assertEquals(await held(), [1, 3, 2, 1]);
      await assertRejects(() => rpc.call("prefill", chunk(3, { sequence: 2 }), "candidates", { payload }), LatentmeshError, "not free");
      // A prompt of the same name would replace one that generates.
      await assertRejects(
        () => rpc.call("prefill", chunk(3, { begin: { length: 3, blocks: [1], target: null, stays: true } }), "candidates", { payload }),
        LatentmeshError,
        "open already",
      );
      await rpc.call("close", { epoch: 1, sequences: [1] }, "done");
      // One that generates nothing does not stay.
      await rpc.call("prefill", chunk(3, { sequence: 2, begin: { length: 3, blocks: [0], target: null, stays: false } }), "candidates", { payload });
      assertEquals((await held()).slice(0, 2), [0, 4]);
      await rpc.call("prefill", chunk(3, { sequence: 3 }), "candidates", { payload });
      await rpc.call("join", { epoch: 2, peers: [] }, "done");
      await rpc.call("connect", { epoch: 2 }, "connected");
      assertEquals((await held()).slice(0, 2), [0, 4]);
    }));
});

describe("a decode worker", () => {
  it("does nothing before it is assigned and linked, and nothing for another epoch", () =>
    withWorker(async (rpc) => {
      await assertRejects(() => rpc.call("stats", {}, "stats"), LatentmeshError, "not been assigned");
      await rpc.call("assign", { assignment }, "assigned");
      await assertRejects(
        () => rpc.call("open", { epoch: 1, sequence: 1, tokens: 3, from: 0, blocks: [0] }, "done"),
        LatentmeshError,
        "Epoch 1 is over",
      );
      await rpc.call("join", { epoch: 1, peers: [] }, "done");
      const step = { epoch: 1, rows: 1, asks: 1, forks: [], behind: null, grow: [] };
      const payload = encodeStep([{ sequence: 1, token: 5, position: 3 }], [QUERY]);
      await assertRejects(() => rpc.call("step", step, "candidates", { payload }), LatentmeshError, "has not joined");
      await rpc.call("connect", { epoch: 1 }, "connected");
      await assertRejects(() => rpc.call("step", step, "candidates", { payload }), LatentmeshError, "Sequence 1 is not open");
      await rpc.call("open", { epoch: 1, sequence: 1, tokens: 3, from: 0, blocks: [0] }, "done");
      await assertRejects(() => rpc.call("step", step, "candidates", { payload }), LatentmeshError, "not been handed over");
      await assertRejects(
        () => rpc.call("open", { epoch: 1, sequence: 1, tokens: 3, from: 0, blocks: [1] }, "done"),
        LatentmeshError,
        "open already",
      );
      await assertRejects(() => rpc.call("open", { epoch: 1, sequence: 2, tokens: 3, from: 0, blocks: [0] }, "done"), LatentmeshError, "not free");
      await assertRejects(
        () => rpc.call("open", { epoch: 1, sequence: 2, tokens: 65, from: 0, blocks: [1] }, "done"),
        LatentmeshError,
        "do not hold 65",
      );
      await assertRejects(
        () => rpc.call("open", { epoch: 1, sequence: 2, tokens: 3, from: 0, blocks: [1, 2, 3] }, "done"),
        LatentmeshError,
        "more blocks",
      );
      await assertRejects(
        () =>
          rpc.call(
            "prefill",
            {
              epoch: 1,
              sequence: 1,
              begin: null,
              start: 0,
              tokens: 1,
              layers: { first: 0, end: 3 },
              last: true,
              awaited: true,
              asks: 0,
              promptLogprobs: null,
              following: null,
            },
            "candidates",
          ),
        LatentmeshError,
      );
      // A new epoch drops what the old one held.
      await rpc.call("join", { epoch: 2, peers: [] }, "done");
      await rpc.call("connect", { epoch: 2 }, "connected");
      const { reply: { stats } } = await rpc.call("stats", {}, "stats");
      assertEquals([stats.sequences, stats.freeBlocks], [0, 4]);
      await assertRejects(() => rpc.call("close", { epoch: 1, sequences: [1] }, "done"), LatentmeshError, "is in epoch 2");
    }));

  it("takes latents only as they were announced, in order, from whom it expects", () =>
    withWorker(async (rpc, hello, notices) => {
      await rpc.call("assign", { assignment }, "assigned");
      const transport = new DenoTransport();
      const secret = crypto.getRandomValues(new Uint8Array(32));
      // d_c + d_r of the model.
      const [layers, width] = [3, 32 + 8];
      const join = async (epoch: number): Promise<Link> => {
        await rpc.call("join", { epoch, peers: [] }, "done");
        await rpc.call("connect", { epoch }, "connected");
        await rpc.call("feed", { epoch, feeder: { worker: "prefill-0.0/1", secret } }, "done");
        return await connectLink(await transport.connect(hello.address), { worker: "prefill-0.0/1", role: "prefill" }, secret, "decode-0.0/1");
      };
      const header = (layer: number, range: [number, number], change: object = {}) => {
        const shape = [1, range[1] - range[0], width];
        const byteLength = shape[1] * width * 4;
        return { kind: "latents", epoch: 1, sequence: 1, layers: [layer, layer + 1], range, dtype: "f32", shape, byteLength, ...change };
      };
      const values = (tokens: number) => new Float32Array(tokens * width).fill(0.1);
      await assertRejects(
        async () => await connectLink(await transport.connect(hello.address), { worker: "prefill-0.0/1", role: "prefill" }, secret),
        LatentmeshError,
        "wrong token",
      );
      const broken: [message: object, payload: Float32Array<ArrayBuffer>, problem: string][] = [
        [header(0, [0, 3], { shape: [1, 3, width + 1], byteLength: 3 * (width + 1) * 4 }), new Float32Array(3 * (width + 1)), "is expected"],
        [header(0, [0, 3], { layers: [0, 2] }), values(3), "f32 [2, 3, 40] is expected"],
        [header(0, [0, 3], { layers: [1, 1] }), values(3), "there are no layers 1 to 1"],
        [header(0, [0, 3], { byteLength: 8 }), values(3), "announces 8"],
        [header(0, [0, 3], { dtype: "f16" }), values(3), "is expected"],
        [header(layers, [0, 3]), values(3), `there are no layers ${layers} to ${layers + 1}`],
        [header(0, [1, 3]), values(2), "came where 0"],
        [header(0, [0, 4]), values(4), "to at most 3"],
      ];
      let epoch = 0;
      for (const [message, payload, problem] of broken) {
        const link = await join(++epoch);
        await rpc.call("open", { epoch, sequence: 1, tokens: 3, from: 0, blocks: [0] }, "done");
        link.send({ ...message, epoch }, payload);
        await link.closed;
        assert(
          notices.some((notice) => notice.kind === "trouble" && notice.message.includes(problem)),
          `${problem}: ${JSON.stringify(notices.at(-1))}`,
        );
      }
      // What comes too late is turned back; the link stays.
      const link = await join(++epoch);
      const answers: Record<string, unknown>[] = [];
      link.listen(({ message }) => answers.push(message as Record<string, unknown>));
      link.send(header(0, [0, 3], { epoch: epoch - 1 }), values(3));
      link.send(header(0, [0, 3], { epoch, sequence: 9 }), values(3));
      await until(() => answers.length === 2);
      assertEquals(answers.map(({ kind, message }) => `${kind}: ${message}`), [
        `rejected: epoch ${epoch - 1} is over, this is epoch ${epoch}`,
        "rejected: sequence 9 is not open",
      ]);
      await rpc.call("open", { epoch, sequence: 1, tokens: 3, from: 0, blocks: [2] }, "done");
      for (let layer = 0; layer < layers; layer++) link.send(header(layer, [0, 2], { epoch }), values(2));
      // What is left of the first two layers travels together.
      link.send(header(0, [2, 3], { epoch, layers: [0, 2], shape: [2, 1, width], byteLength: 2 * width * 4 }), values(2));
      link.send(header(2, [2, 3], { epoch }), values(1));
      await until(() => answers.length === 2 + layers + 2);
      assertEquals(answers.slice(2).map(({ kind, bytes }) => `${kind} ${bytes as number / width / 4}`), [
        "ack 2",
        "ack 2",
        "ack 2",
        "ack 2",
        "ack 1",
      ]);
      const step = { epoch, rows: 1, asks: 1, forks: [], behind: null, grow: [] };
      const ask = encodeStep([{ sequence: 1, token: 5, position: 3 }], [QUERY]);
      const { payload } = await rpc.call("step", step, "candidates", { payload: ask });
      const { answers: [{ plain }] } = decodeAnswers(payload, { sums: 0, queries: [QUERY], prompt: 0, promptCandidates: 0 });
      assert(plain!.logits.every(Number.isFinite), "logits");
      await assertRejects(() => rpc.call("step", step, "candidates", { payload: ask }), LatentmeshError, "position 3 is not next");
      link.close();
    }));
});
