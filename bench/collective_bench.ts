/**
 * The exchange of ranks' parts between two processes of this host, both ways, beside a bare exchange of the same bytes over the same kind of socket: on host buffers,
 * and from device to device, each rank's on a GPU of its own.
 *
 * @module
 */
import { acceptLink } from "../core/wire/link.ts";
import type { Socket } from "../core/wire/transport.ts";
import { selectGpu } from "../cluster/processes/spawn.ts";
import type { DeviceChoice } from "../kernels/device/providers.ts";
import { openBenchDevice } from "./support/device.ts";
import { residualSum } from "../kernels/residual_add/residual_sum.ts";
import { sumsAddress } from "../core/wire/transport.ts";
import type { Collective } from "../workers/collective/collective.ts";
import { whyNotShared } from "../workers/collective/shared_memory.ts";
import { hasSpareProcessors } from "../workers/collective/spare_processors.ts";
import { Membership } from "../workers/process/membership.ts";
import { DenoTransport } from "../workers/links/transport.ts";
import { percentile, printTable } from "./table.ts";

/** What a decode step of V2-Lite exchanges with one row and with sixteen, of DeepSeek-V3, and of tiny-mla. */
const SIZES = [2048, 32_768, 7168, 320];
const ROUNDS = 3000;
/** Of the rounds that count, how many more come before them. */
const WARM_UP = 1 / 6;
const SECRET = new Uint8Array(32).fill(7);
/** Sums after which a rank returns to its event loop, as after a step. */
const SUMS_PER_STEP = 54;

/** `in turns`: by sockets of the thread that computes; `asleep`: nobody keeps a processor while waiting. */
type Way = "websocket" | "websocket in turns" | "websocket asleep" | "shared-memory";

/** What is measured. */
interface CollectiveOptions {
  /** GPUs of the ranks, one rank each; null: whichever the driver prefers. */
  readonly gpus: readonly (number | null)[];
  /** What sums from device to device are measured on; none if absent. */
  readonly device?: DeviceChoice;
  /** Values of a sum. */
  readonly sizes: readonly number[];
  readonly rounds: number;
  /** How parts travel; default: each way that there is here. */
  readonly ways?: readonly Way[];
  /** Whether exchanges between two hosts' buffers are measured, too. */
  readonly buffers: boolean;
}

/** How a sum from device to device is named among what was measured. */
function sumName(size: number, way: string, device: DeviceChoice): string {
  return `sum of ${size} f32 by ${way}, ${device} to ${device}`;
}

/** All ranks do this, in lockstep. */
async function measureRank(rank: number, directory: string, options: CollectiveOptions) {
  const { gpus: { length: ranks }, device, sizes, rounds, buffers } = options;
  const times = new Map<string, number[]>();
  const repeat: Repeat = async (name, round) => void times.set(name, await timeRounds(rounds, round));
  const transport = new DenoTransport();
  const bare = Promise.withResolvers<Socket>();
  const bareListener = await transport.listen(`unix:${directory}/bare${rank}`, (socket) => Promise.resolve(bare.resolve(socket)));
  const ways = options.ways ?? waysHere();
  const addressOf = (way: Way, rank: number) => `unix:${directory}/${ways.indexOf(way)}rank${rank}`;
  const members = ways.map((way) => memberOf(rank, ranks, way, addressOf(way, rank), transport, Math.max(...sizes)));
  const listeners = await Promise.all(members.map((member, i) =>
    transport.listen(
      addressOf(ways[i], rank),
      async (socket) => member.accept(await acceptLink(socket, (peer) => member.secretOf(peer))),
    )
  ));
  members.forEach((member, i) => {
    const others = Array.from({ length: ranks }, (_, other) => other).filter((other) => other !== rank);
    const peers = others.map((other) => ({ worker: `r${other}`, rank: other, address: addressOf(ways[i], other), secret: SECRET }));
    member.join({ epoch: 1, peers });
  });
  await meet(directory, rank, ranks);

  const collectives = new Map<Way, Collective>();
  for (const [i, member] of members.entries()) {
    const [collective] = await member.connect();
    if (member.notThreaded !== null && ways[i] !== "websocket in turns") throw new Error(`No thread of sums: ${member.notThreaded}`);
    collectives.set(ways[i], collective);
  }
  if (buffers) {
    const socket = rank === 1 ? await transport.connect(`unix:${directory}/bare0`) : await bare.promise;
    socket.binaryType = "arraybuffer";
    await measureBuffers(collectives, sizes, socket, repeat);
    socket.close();
  }
  if (device !== undefined) await measureDevice(device, sizes, collectives, repeat);
  for (const member of members) member.leave();
  await bareListener.close();
  for (const listener of listeners) await listener.close();
  return times;
}

/** Milliseconds of each round, after some that do not count. */
async function timeRounds(rounds: number, round: () => Promise<void> | undefined): Promise<number[]> {
  for (let i = 0; i < rounds * WARM_UP; i++) await round();
  const measured: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const started = performance.now();
    // Awaiting what is no promise would be a turn of the event loop.
    const pending = round();
    if (pending !== undefined) await pending;
    measured.push(performance.now() - started);
    if (i % SUMS_PER_STEP === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  return measured;
}

/** A rank of a group whose parts travel in one way. */
function memberOf(rank: number, ranks: number, way: Way, address: string, transport: DenoTransport, sumValues: number): Membership {
  const thread = {
    listen: sumsAddress(address),
    advertise: (address: string) => address,
    tls: {},
    spare: hasSpareProcessors() && way !== "websocket asleep",
  };
  return new Membership(
    { worker: `r${rank}`, role: "decode", rank, ranks },
    transport,
    {
      wire: "f32",
      exchange: way === "shared-memory" ? way : "websocket",
      deadlineMs: 10_000,
      lanes: 1,
      sumValues,
      sumThread: way === "websocket in turns" ? null : thread,
    },
    () => {},
    () => {},
  );
}

function waysHere(): Way[] {
  return ["websocket", "websocket asleep", "websocket in turns", ...(whyNotShared() === null ? ["shared-memory" as const] : [])];
}

type Repeat = (name: string, round: () => Promise<void> | undefined) => Promise<void>;

/** Two ranks' parts on host buffers, beside a bare exchange of as many bytes. */
async function measureBuffers(collectives: ReadonlyMap<Way, Collective>, sizes: readonly number[], socket: Socket, repeat: Repeat): Promise<void> {
  const queue = receiver(socket);
  for (const size of sizes) {
    const payload = new Uint8Array(size * 4);
    await repeat(`bare exchange of ${size * 4} bytes`, async () => {
      socket.send(payload);
      await queue();
    });
    for (const [way, collective] of collectives) {
      const values = new Float32Array(size).fill(collective.rank + 1);
      await repeat(`parts of ${size} f32 by ${way}`, () => {
        new Float32Array(...viewOf(collective.input(size))).set(values);
        const exchanged = collective.exchange(size);
        return exchanged instanceof Promise ? exchanged.then(() => {}) : undefined;
      });
    }
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>): [ArrayBuffer, number, number] {
  return [buffer, byteOffset, byteLength / 4];
}

/** What a rank does after every block: its part comes back from the device, is exchanged, and what the other has sent goes where the next kernel adds it. */
async function measureDevice(
  choice: DeviceChoice,
  sizes: readonly number[],
  collectives: ReadonlyMap<Way, Collective>,
  repeat: Repeat,
): Promise<void> {
  const device = await openBenchDevice(choice);
  for (const size of sizes) {
    const [{ rank, ranks }] = collectives.values();
    const [own, x] = ["own part", "stream"].map((name) => device.createBuffer(name, size * 4));
    const others = device.createBuffer("other parts", (ranks - 1) * size * 4);
    const sum = (await device.compile(residualSum, { width: size, rank, ranks, wire: "f32" })).bind({ own, others, x }, { rows: 1 });
    const readback = await device.createReadback("part", size * 4);
    device.write(own, 0, new Float32Array(size).fill(rank + 1));
    const record = () => {
      device.run(sum, { rows: 1 });
      device.read(readback, own, 0, size * 4);
      device.submit();
    };
    const host = new Uint8Array(size * 4);
    // As ranks do: what sockets bring needs turns of the event loop.
    const read = (into: Uint8Array<ArrayBuffer>, turns: boolean, idle?: () => void) => {
      record();
      return turns || readback.takeNow(into, idle) === null ? readback.take(into).then(() => {}) : undefined;
    };
    const upload = (part: Uint8Array<ArrayBuffer> | null, other: number) => part !== null && device.write(others, other * size * 4, part);
    await repeat(`readback of ${size} f32 from ${choice}`, () => read(host, false));
    await repeat(`readback of ${size} f32 from ${choice}, in turns`, () => read(host, true));
    for (const [way, collective] of collectives) {
      await repeat(sumName(size, way, choice), () => {
        const pending = read(collective.input(size, (other, part) => upload(part, other)), collective.travels === "in turns", collective.poll);
        const exchange = () => {
          const exchanged = collective.exchange(size);
          if (exchanged instanceof Promise) return exchanged.then(take);
          take(exchanged);
        };
        const take = (exchanged: Awaited<ReturnType<Collective["exchange"]>>) => {
          if ("parts" in exchanged) exchanged.parts.forEach(upload);
        };
        return pending === undefined ? exchange() : pending.then(exchange);
      });
    }
  }
  await device.settle();
  await device.close();
}

/** Messages of a socket, one at a time. */
function receiver(socket: Socket): () => Promise<void> {
  let arrived = 0;
  let wake: (() => void) | null = null;
  socket.onmessage = () => {
    arrived++;
    wake?.();
    wake = null;
  };
  return async () => {
    if (arrived === 0) await new Promise<void>((resolve) => wake = resolve);
    arrived--;
  };
}

/** Waits until all ranks listen. */
async function meet(directory: string, rank: number, ranks: number): Promise<void> {
  await Deno.writeTextFile(`${directory}/ready${rank}`, "");
  for (let other = 0; other < ranks; other++) {
    while (!(await Deno.stat(`${directory}/ready${other}`).catch(() => null))) await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Runs the ranks, each in a process of its own. @returns what rank 0 has measured, in milliseconds */
async function measureCollective(options: CollectiveOptions, signal?: AbortSignal): Promise<Map<string, number[]>> {
  const directory = await Deno.makeTempDir();
  try {
    const ranks = options.gpus.map((gpu, rank) => {
      const command = [Deno.execPath(), "run", "-A", import.meta.filename!, directory, `${rank}`, JSON.stringify(options)];
      const selected = selectGpu(gpu, command);
      return new Deno.Command(selected.command, { args: selected.args, env: selected.env, signal }).spawn();
    });
    const ends = await Promise.all(ranks.map((rank) => rank.status));
    if (!ends.every(({ success }) => success)) throw new Error("A rank failed; see above");
    return new Map(JSON.parse(await Deno.readTextFile(`${directory}/times.json`)));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** What sums take by themselves. */
export interface BareSumOptions {
  readonly device: DeviceChoice;
  /** GPUs of the ranks; null: whichever the driver prefers. */
  readonly gpus: readonly (number | null)[];
  readonly sizes: readonly number[];
  readonly rounds?: number;
  /** Default: through shared memory where that is there. */
  readonly exchange?: Way;
}

/**
 * Median milliseconds of a sum between ranks that do nothing else, from device to device: one small kernel, its result's way back, the exchange, the upload.
 *
 * @returns by the number of values
 */
export async function measureBareSums(options: BareSumOptions, signal?: AbortSignal): Promise<Map<number, number>> {
  const { device, gpus, sizes, rounds = ROUNDS / 3, exchange = waysHere().at(-1)! } = options;
  const times = await measureCollective({ gpus, device, sizes, rounds, ways: [exchange], buffers: false }, signal);
  return new Map(sizes.map((size) => [size, percentile(times.get(sumName(size, exchange, device))!, 0.5)]));
}

/** Runs the bench. @param args what device to sum on, and the GPUs of the two ranks, such as `dawn 0,1` */
export async function collectiveBench([device, gpus]: readonly string[] = []): Promise<void> {
  const places = gpus?.split(",").map(Number) ?? [null, null];
  const times = await measureCollective({
    gpus: places,
    device: device as DeviceChoice | undefined,
    sizes: SIZES,
    rounds: ROUNDS,
    buffers: places.length === 2,
  });
  printTable([
    ["two processes of this host", "p50", "p90", "p99"],
    ...[...times].map(([name, measured]) => [name, ...[0.5, 0.9, 0.99].map((p) => `${percentile(measured, p).toFixed(3)} ms`)]),
  ]);
}

if (import.meta.main) {
  const [directory, rank, options] = Deno.args;
  const times = await measureRank(Number(rank), directory, JSON.parse(options));
  if (rank === "0") await Deno.writeTextFile(`${directory}/times.json`, JSON.stringify([...times]));
  // Dawn keeps the process alive.
  Deno.exit(0);
}
