/**
 * Where the time of handing a prompt over goes, on one device: a prompt computed by itself, with its latents cut out and read back but sent nowhere, and sent to
 * processes that acknowledge and keep nothing, in cuts and windows of several sizes; what the links carry by themselves; what taking latents in costs a decode rank.
 *
 * @module
 */
import { cacheDtypeOf } from "../core/device_kind.ts";
import { BLOCK_TOKENS } from "../core/cache/blocks.ts";
import { parseArgs } from "node:util";
import type { WeightPolicy } from "../core/model/matrix_source.ts";
import { choosePrefillSizes } from "../core/model/prefill_sizes.ts";
import { configOf, shapeNamed, SHAPES } from "../core/model/synthetic/shapes.ts";
import { ceilDiv } from "../core/numeric.ts";
import { partition, type RankShape } from "../core/tpla/partition.ts";
import { decodeFrame, FRAME_FRONT, sealFrame } from "../core/wire/codec.ts";
import { connectLink, Link } from "../core/wire/link.ts";
import { parseMessage, type PeerFrame, type PeerFrameOf, peerFrameSchema } from "../core/wire/messages.ts";
import type { Socket } from "../core/wire/transport.ts";
import type { Device } from "../kernels/device/device.ts";
import { freeMemoryIfKnown } from "../kernels/device/free_memory.ts";
import { keptOf } from "../workers/handoff/latent_exporter.ts";
import { exportedConfig } from "../kernels/latent_export/kept_columns.ts";
import { cacheTokenBytes } from "../kernels/latent_cache/layout.ts";
import { openBenchDevice } from "./support/device.ts";
import { SoloCollective } from "../workers/collective/collective.ts";
import { importLatents } from "../workers/handoff/latent_importer.ts";
import type { HandoffSizes } from "../workers/handoff/handoff_sender.ts";
import type { HandoffTarget } from "../workers/handoff/handoff_target.ts";
import { LatentCache } from "../workers/forward/latent_cache.ts";
import { Model } from "../workers/forward/model.ts";
import { PrefillRank } from "../workers/roles/prefill.ts";
import { DenoTransport } from "../workers/links/transport.ts";
import { SECRET } from "./handoff_sink.ts";
import { syntheticWeights } from "./synthetic.ts";
import { median, printTable } from "./table.ts";

const PROMPTS = 7;
const EPOCH = 1;
const MIB = 2 ** 20;

/** Sizes that are compared: those of workers first, then smaller ones. */
const SIZES: readonly (HandoffSizes | undefined)[] = [
  undefined,
  { cutBytes: MIB, cuts: 6, windowBytes: 64 * MIB },
  { cutBytes: 16 * MIB, cuts: 3, windowBytes: 64 * MIB },
  { cutBytes: 4 * MIB, cuts: 6, windowBytes: 8 * MIB },
  { cutBytes: 4 * MIB, cuts: 1, windowBytes: 64 * MIB },
];

/** What a prompt took, in milliseconds. */
interface Times {
  /** Until its first token was known. */
  readonly answered: number;
  /** Until every rank had acknowledged its share. */
  readonly handed: number;
  /** In which computing stood still for the ranks. */
  readonly stalled: number;
}

/** Runs the bench. */
export async function handoffPartsBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "dawn" },
      shape: { type: "string", default: "v2-lite" },
      layers: { type: "string" },
      weights: { type: "string", default: "keep" },
      tokens: { type: "string", default: "1024" },
      ranks: { type: "string", default: "2" },
    },
  });
  const shape = shapeNamed(values.shape);
  const config = configOf(shape, values.layers === undefined ? SHAPES[shape].num_hidden_layers : Number(values.layers));
  const tokens = Number(values.tokens);
  const ranks = Number(values.ranks);
  const device = await openBenchDevice(values.device);
  const { kind, limits: { maxBindingBytes } } = device;
  const weights = await syntheticWeights(device, config, values.weights as WeightPolicy);
  const { chunk, window } = choosePrefillSizes(weights.spec, { kind, maxBindingBytes, freeBytes: await freeMemoryIfKnown("any") }, {}, tokens);
  const model = await Model.create(device, weights, {
    cacheDtype: cacheDtypeOf(kind),
    maxTokens: tokens + BLOCK_TOKENS,
    maxContext: tokens,
    maxSequences: 2,
    limits: { prefillRows: chunk, decodeRows: 1, window, logitRows: 1 },
  });
  const shapes = partition(weights.spec, { ranks, latentGroups: ranks, halo: 0 });
  const table: string[][] = [["prompts", "first token, ms", "handed over, ms", "of which stalled"]];
  const add = (what: string, { answered, handed, stalled }: Times) => table.push([what, answered.toFixed(1), handed.toFixed(1), stalled.toFixed(1)]);

  const alone = await PrefillRank.create(model, shapes);
  await alone.reset([new SoloCollective()]);
  add("computed", await timePrompts(alone, tokens, null));
  add("cut out and read back", await timePrompts(alone, tokens, shapes.map((shape, rank) => ({ ...nowhere(rank, alone), shape }))));

  const directory = await Deno.makeTempDir();
  const { links, end } = await startSinks(directory, ranks);
  const sent = links.reduce((sum, link) => sum - link.counters.sentBytes, 0);
  for (const sizes of SIZES) {
    const rank = await PrefillRank.create(model, shapes, sizes);
    await rank.reset([new SoloCollective()]);
    for (const link of links) link.listen(({ message }) => rank.receive(link.identity.worker, parseMessage(peerFrameSchema, message)));
    const what = sizes === undefined
      ? "as workers do"
      : `${sizes.cuts} cuts of ${sizes.cutBytes / MIB} MiB, windows of ${sizes.windowBytes / MIB} MiB`;
    add(
      `sent, ${what}`,
      await timePrompts(rank, tokens, links.map((link, i) => ({ worker: link.identity.worker, link, shape: shapes[i], window: null }))),
    );
  }
  const bytes = (sent + links.reduce((sum, link) => sum + link.counters.sentBytes, 0)) / SIZES.length / (PROMPTS + 1);
  const bare = await timeLinks(links, bytes / ranks);
  await end();
  await Deno.remove(directory, { recursive: true });
  const taken = await timeImport(device, model, shapes[0], tokens);

  console.log(`${kind} (${device.description}): ${shape}, ${weights.spec.layers} layers, ${tokens} tokens in chunks of ${chunk}, to ${ranks} ranks`);
  console.log(`${(bytes / 1e6).toFixed(1)} MB by the links alone: ${bare.toFixed(1)} ms; taken in by one rank: ${taken.toFixed(1)} ms\n`);
  printTable(table);
  await device.close();
}

/** Prompts by the clock; the median counts. @param ranks who they are handed to; null: nobody */
async function timePrompts(rank: PrefillRank, tokens: number, ranks: readonly HandoffTarget[] | null): Promise<Times> {
  const { prefillRows } = rank.model.limits;
  const blocks = Array.from({ length: ceilDiv(tokens, BLOCK_TOKENS) }, (_, i) => i);
  const target = ranks === null ? null : { group: "decode-0", epoch: EPOCH, silentMs: 30_000, from: 0, ranks };
  const [answered, handed, stalled]: number[][] = [[], [], []];
  for (let sequence = 0; sequence <= PROMPTS; sequence++) {
    const stalledBefore = rank.handoff.stallMs;
    const began = performance.now();
    for (let start = 0; start < tokens; start += prefillRows) {
      const count = Math.min(prefillRows, tokens - start);
      const last = start + count === tokens;
      await rank.run({
        sequence,
        start,
        layers: { first: 0, end: rank.model.spec.layers },
        last,
        awaited: true,
        tokens: Array.from({ length: count }, (_, i) => (start + i + sequence) % 500),
        begin: start === 0 ? { length: tokens, blocks, target, stays: false } : null,
        queries: last
          ? [{ key: 0, position: tokens - 1, inverseTemperature: 1, plain: 1, adjusted: 0, base: 0, changes: [], mask: null, draw: false }]
          : [],
        promptLogprobs: null,
        following: null,
      });
    }
    const first = performance.now() - began;
    if (target !== null) await rank.handed(sequence);
    // Drivers prepare kernels in the first prompt.
    if (sequence === 0) continue;
    answered.push(first);
    handed.push(performance.now() - began);
    stalled.push(rank.handoff.stallMs - stalledBefore);
  }
  return { answered: median(answered), handed: median(handed), stalled: median(stalled) };
}

/** A rank that acknowledges at once, in this process. */
function nowhere(rank: number, prefill: PrefillRank): Omit<HandoffTarget, "shape"> {
  const worker = `decode-0.${rank}`;
  const socket: Socket = {
    binaryType: "arraybuffer",
    onmessage: null,
    onclose: null,
    onerror: null,
    send(data) {
      const { message, payload } = decodeFrame(data);
      const { epoch, sequence } = message as PeerFrameOf<"latents">;
      const bytes = payload.byteLength;
      queueMicrotask(() => prefill.receive(worker, { kind: "ack", epoch, sequence, bytes }));
    },
    close() {},
  };
  return { worker, link: new Link(socket, { worker, role: "prefill" }), window: null };
}

/** Processes that acknowledge, and the links to them. */
async function startSinks(directory: string, ranks: number) {
  const links: Link[] = [];
  const processes: Deno.ChildProcess[] = [];
  for (let rank = 0; rank < ranks; rank++) {
    const address = `unix:${directory}/sink${rank}`;
    const script = new URL("./handoff_sink.ts", import.meta.url).pathname;
    const process = new Deno.Command(Deno.execPath(), { args: ["run", "--allow-all", script, address], stdout: "piped" }).spawn();
    processes.push(process);
    const reader = process.stdout.getReader();
    await reader.read();
    reader.releaseLock();
    links.push(await connectLink(await new DenoTransport().connect(address), { worker: "prefill-0.0", role: "prefill" }, SECRET, `decode-0.${rank}`));
  }
  const end = async () => {
    for (const link of links) link.close();
    for (const process of processes) {
      await process.stdout.cancel();
      await process.status;
    }
  };
  return { links, end };
}

/** As many bytes to each rank from memory, in frames of a few MiB, until all are acknowledged. @returns milliseconds */
async function timeLinks(links: readonly Link[], bytesEach: number): Promise<number> {
  const count = Math.max(1, Math.round(bytesEach / (2 * MIB)));
  const part = { begin: FRAME_FRONT, bytes: Math.floor(bytesEach / count) };
  const memory = new Uint8Array(part.begin + part.bytes);
  let left = 0;
  let done = () => {};
  for (const link of links) {
    link.listen(() => {
      if (--left === 0) done();
    });
  }
  const header = { layers: [0, 1], range: [0, 1], dtype: "f16", shape: [1], byteLength: part.bytes } as const;
  const times: number[] = [];
  for (let round = 0; round < PROMPTS; round++) {
    const began = performance.now();
    left = count * links.length;
    const all = new Promise<void>((resolve) => done = resolve);
    const message = { kind: "latents", epoch: EPOCH, sequence: round, ...header, layers: [0, 1], range: [0, 1], shape: [1] } satisfies PeerFrame;
    for (let frame = 0; frame < count; frame++) for (const link of links) link.sendFrame(sealFrame(message, memory, part));
    await all;
    times.push(performance.now() - began);
  }
  return median(times);
}

/** A rank's share of a prompt from memory to its pages. @returns milliseconds */
async function timeImport(device: Device, model: Model, shape: RankShape, tokens: number): Promise<number> {
  const { dtype } = model.cache;
  const configs = shape.latents.map((_, layer) => ({ ...exportedConfig(keptOf(model.cache, layer, shape)), dtype }));
  const blocks = ceilDiv(tokens, BLOCK_TOKENS);
  const cache = new LatentCache(device, { configs, blocks, maxContext: tokens, maxSequences: 1 });
  const sequence = cache.open();
  cache.grow(sequence, tokens);
  const bytes = new Uint8Array(tokens * cacheTokenBytes(configs[0]));
  const times: number[] = [];
  for (let round = 0; round < PROMPTS; round++) {
    const began = performance.now();
    for (let layer = 0; layer < model.spec.layers; layer++) importLatents({ device, cache }, layer, { sequence, start: 0, count: tokens }, bytes);
    device.flush();
    await device.settle();
    times.push(performance.now() - began);
  }
  cache.close(sequence);
  return median(times);
}
