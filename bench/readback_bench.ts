/**
 * How long a rank takes to have what its device has computed between two exchanges, in the ways there are to wait for it: steps of 54 rounds of a few kernels
 * and a readback, as V2-Lite has them.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { DawnPolling } from "../kernels/device/dawn_polling.ts";
import type { Device, Readback } from "../kernels/device/device.ts";
import { paceDawn } from "../kernels/device/pace_dawn.ts";
import { openBenchDevice } from "./support/device.ts";
import { residualAdd } from "../kernels/residual_add/residual_add.ts";
import { median, percentile, printTable } from "./table.ts";

const WIDTH = 2048;
const ROUNDS = 54;

/** Ways to wait for what is read back. */
const WAYS = ["awaited", "at once", "at once, ahead"] as const;

/** Runs the bench. */
export async function readbackBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "dawn" },
      kernels: { type: "string", default: "1,4,8,16" },
      steps: { type: "string", default: "300" },
      // So many that a kernel takes some microseconds of a card.
      rows: { type: "string", default: "1024" },
    },
  });
  const items = Number(values.rows);
  const device = await openBenchDevice(values.device);
  const [x, delta] = ["stream", "delta"].map((name) => device.createBuffer(name, items * WIDTH * 4));
  const bound = (await device.compile(residualAdd, { width: WIDTH })).bind({ x, delta }, { rows: items });
  const readback = await device.createReadback("part", WIDTH * 4);
  const polling = device.kind === "dawn" ? paceDawn() : null;
  const rows: (string | number)[][] = [["kernels", "on the device", "waiting", "p50", "p99", "longest step", "polls"]];
  for (const kernels of values.kernels.split(",").map(Number)) {
    const run = () => {
      for (let kernel = 0; kernel < kernels; kernel++) device.run(bound, { rows: items });
    };
    const record = () => {
      run();
      device.read(readback, x, 0, WIDTH * 4);
      device.submit();
    };
    const alone: number[] = [];
    for (let i = 0; i < 20; i++) alone.push(await device.measure(run));
    for (const way of WAYS) {
      const { rounds, steps, polls } = await timeWay(way, { device, readback, record, polling, steps: Number(values.steps) });
      rows.push([
        kernels,
        `${(median(alone) * 1000).toFixed(1)} µs`,
        way,
        ...[median(rounds), percentile(rounds, 0.99)].map((ms) => `${(ms * 1000).toFixed(1)} µs`),
        `${Math.max(...steps).toFixed(2)} ms`,
        polls === null ? "" : (polls / rounds.length).toFixed(2),
      ]);
    }
  }
  console.log(`${device.kind} (${device.description}), ${values.steps} steps of ${ROUNDS} rounds each`);
  printTable(rows);
  readback.destroy();
  await device.close();
}

/** What is measured one way. */
interface Waiting {
  readonly device: Device;
  readonly readback: Readback;
  readonly record: () => void;
  readonly polling: DawnPolling | null;
  /** Steps that count. */
  readonly steps: number;
}

/** Milliseconds of rounds and of steps, and polls of the device meanwhile. */
async function timeWay(way: (typeof WAYS)[number], { device, readback, record, polling, steps: count }: Waiting) {
  const [rounds, steps]: [number[], number[]] = [[], []];
  let before = 0;
  for (let step = 0; step < 2 * count; step++) {
    // In the first half the host compiles its code, and waits are learnt.
    const counts = step >= count;
    if (step === count) before = polling?.taken ?? 0;
    const began = performance.now();
    for (let round = 0, last = began; round < ROUNDS; round++) {
      record();
      if (way === "at once, ahead") device.anticipate(record);
      if (way === "awaited" || readback.takeNow() === null) await readback.take();
      const now = performance.now();
      if (counts) rounds.push(now - last);
      last = now;
    }
    if (counts) steps.push(performance.now() - began);
    await setImmediate();
  }
  return { rounds, steps, polls: polling === null ? null : polling.taken - before };
}
