/**
 * The all-reduce between two processes of this host, beside a bare exchange of the same bytes over the same kind of socket: on host buffers, and from device to
 * device, each rank's on a GPU of its own.
 *
 * @module
 */
import { acceptLink } from "../core/wire/link.ts";
import type { Socket } from "../core/wire/transport.ts";
import { selectGpu } from "../cluster/spawn.ts";
import { type DeviceChoice, openDevice } from "../kernels/providers.ts";
import type { Collective } from "../workers/collective.ts";
import { Membership } from "../workers/membership.ts";
import { DenoTransport } from "../workers/transport.ts";
import { percentile, printTable } from "./table.ts";

/** Hidden size of DeepSeek-V3, and what a decode step of tiny-mla sums. */
const SIZES = [7168, 320];
const WARM_UP = 500;
const ROUNDS = 3000;
const SECRET = new Uint8Array(32).fill(7);

/** Both ranks do this, in lockstep. @param device what device-to-device sums are measured on; none if absent */
async function measureRank(rank: number, directory: string, device?: DeviceChoice): Promise<Map<string, number[]>> {
  const transport = new DenoTransport();
  const times = new Map<string, number[]>();
  const repeat: Repeat = async (name, round) => {
    for (let i = 0; i < WARM_UP; i++) await round();
    const measured: number[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      const started = performance.now();
      await round();
      measured.push(performance.now() - started);
    }
    times.set(name, measured);
  };

  const bare = Promise.withResolvers<Socket>();
  const bareListener = await transport.listen(`unix:${directory}/bare${rank}`, (socket) => Promise.resolve(bare.resolve(socket)));
  const members = new Membership(
    { worker: `r${rank}`, role: "decode", rank, ranks: 2 },
    transport,
    { wire: "f32", deadlineMs: 10_000, lanes: 1 },
    () => {},
    () => {},
  );
  const listener = await transport.listen(
    `unix:${directory}/rank${rank}`,
    async (socket) => members.accept(await acceptLink(socket, (peer) => members.secretOf(peer))),
  );
  members.join({ epoch: 1, peers: [{ worker: `r${1 - rank}`, rank: 1 - rank, address: `unix:${directory}/rank${1 - rank}`, secret: SECRET }] });
  await meet(directory, rank);

  const socket = rank === 1 ? await transport.connect(`unix:${directory}/bare0`) : await bare.promise;
  socket.binaryType = "arraybuffer";
  const queue = receiver(socket);
  const [collective] = await members.connect();
  for (const size of SIZES) {
    const payload = new Uint8Array(size * 4);
    await repeat(`bare exchange of ${size * 4} bytes`, async () => {
      socket.send(payload);
      await queue();
    });
    if (rank === 1) {
      await repeat(`bare round trip of ${size * 4} bytes`, async () => {
        await queue();
        socket.send(payload);
      });
    } else {
      await repeat(`bare round trip of ${size * 4} bytes`, async () => {
        socket.send(payload);
        await queue();
      });
    }
    const values = new Float32Array(size).fill(rank + 1);
    await repeat(`all-reduce of ${size} f32`, async () => {
      collective.input(size).set(values);
      const sum = await collective.allReduce(size);
      if (sum[0] !== 3 || sum[size - 1] !== 3) throw new Error("wrong sum");
    });
  }
  if (device !== undefined) await measureDevice(device, collective, repeat);
  socket.close();
  members.leave();
  await bareListener.close();
  await listener.close();
  return times;
}

type Repeat = (name: string, round: () => Promise<void>) => Promise<void>;

/** What a rank does after every block: its partial result comes back from the device, is summed, and the sum goes to the device. */
async function measureDevice(choice: DeviceChoice, collective: Collective, repeat: Repeat): Promise<void> {
  const { device } = await openDevice(choice, { dawn: Deno.env.get("LATENTMESH_DAWN") });
  for (const size of SIZES) {
    const partial = device.createBuffer("partial result", size * 4);
    const sums = device.createBuffer("sum", size * 4);
    const readback = await device.createReadback("partial result", size * 4);
    device.write(partial, 0, new Float32Array(size).fill(collective.rank + 1));
    const readInto = async (into: Float32Array<ArrayBuffer>) => {
      device.read(readback, partial, 0, size * 4);
      device.submit();
      await readback.take(new Uint8Array(into.buffer, into.byteOffset, into.byteLength));
    };
    const host = new Float32Array(size);
    await repeat(`readback of ${size} f32 from ${choice}`, () => readInto(host));
    await repeat(`all-reduce of ${size} f32, ${choice} to ${choice}`, async () => {
      await readInto(collective.input(size));
      const sum = await collective.allReduce(size);
      if (sum[0] !== 3 || sum[size - 1] !== 3) throw new Error("wrong sum");
      device.write(sums, 0, sum);
    });
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

/** Waits until both ranks listen. */
async function meet(directory: string, rank: number): Promise<void> {
  await Deno.writeTextFile(`${directory}/ready${rank}`, "");
  while (!(await Deno.stat(`${directory}/ready${1 - rank}`).catch(() => null))) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Runs the bench. @param args what device to sum on, and the GPUs of the two ranks, such as `dawn 0,1` */
export async function collectiveBench([device, gpus]: readonly string[] = []): Promise<void> {
  const directory = await Deno.makeTempDir();
  const places = gpus?.split(",").map(Number) ?? [null, null];
  const ranks = places.map((gpu, rank) => {
    const command = [Deno.execPath(), "run", "-A", import.meta.filename!, directory, `${rank}`, ...(device === undefined ? [] : [device])];
    const selected = selectGpu(gpu, command);
    return new Deno.Command(selected.command, { args: selected.args, env: selected.env }).spawn();
  });
  const ends = await Promise.all(ranks.map((rank) => rank.status));
  if (!ends.every(({ success }) => success)) throw new Error("A rank failed; see above");
  const times = new Map<string, number[]>(JSON.parse(await Deno.readTextFile(`${directory}/times.json`)));
  await Deno.remove(directory, { recursive: true });
  printTable([
    ["two processes, Unix sockets", "p50", "p90", "p99"],
    ...[...times].map(([name, measured]) => [name, ...[0.5, 0.9, 0.99].map((p) => `${percentile(measured, p).toFixed(3)} ms`)]),
  ]);
  const p50 = (name: string) => percentile(times.get(name)!, 0.5);
  const ratio = p50("all-reduce of 7168 f32") / p50("bare exchange of 28672 bytes");
  console.log(`\nall-reduce of 7168 f32 on host buffers takes ${ratio.toFixed(2)} times the bare exchange`);
}

if (import.meta.main) {
  const [directory, rank, device] = Deno.args;
  const times = await measureRank(Number(rank), directory, device as DeviceChoice | undefined);
  if (rank === "0") await Deno.writeTextFile(`${directory}/times.json`, JSON.stringify([...times]));
  // Dawn keeps the process alive.
  Deno.exit(0);
}
