/**
 * Times of device work, taken while the device runs at its full speed.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import type { BoundKernel, Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { median } from "../table.ts";
import { READ_RESULTS_BYTES, readWords } from "./read_words.ts";

/** Milliseconds of reading before anything counts: an H100 that was idle takes two seconds to raise its clock from 345 to 1980 MHz. */
const WARM_UP = 3000;
/** Milliseconds of reading right before each run that counts. */
const LEAD = 15;
/** Runs whose median counts, and most that are tried. */
const RUNS = 7;
const MOST_RUNS = 21;
/** Longest read that is waited for; slow devices read less. */
const LONGEST_READ = 10;
/** How much slower than the fastest a read may be for the run beside it to count. */
const AGREEMENT = 1.04;

/**
 * Measures work beside a memory read of known speed: where the reads before and after a run are slower than they can be, the device has lowered its clock, and the
 * run does not count. The reads are also the ceiling that work is compared to.
 */
export class Stopwatch {
  readonly #device: Device;
  #bytes: number;
  readonly #buffers: readonly DeviceBuffer[];
  readonly #read: BoundKernel<"vectors">;
  #fastest = Infinity;

  private constructor(device: Device, bytes: number, buffers: readonly DeviceBuffer[], read: BoundKernel<"vectors">) {
    this.#device = device;
    this.#bytes = bytes;
    this.#buffers = buffers;
    this.#read = read;
  }

  /** Warms the device up and measures how fast it reads. */
  static async start(device: Device): Promise<Stopwatch> {
    // Several times what caches hold.
    const bytes = Math.min(device.limits.maxBindingBytes, isHost(device.kind) ? 2 ** 26 : 2 ** 30);
    const x = device.createBuffer("what is read", bytes);
    const y = device.createBuffer("results", READ_RESULTS_BYTES);
    const read = (await device.compile(readWords, null)).bind({ x, y }, { vectors: bytes / 16 });
    const stopwatch = new Stopwatch(device, bytes, [x, y], read);
    const ms = await stopwatch.#readOnce();
    if (ms > LONGEST_READ) {
      stopwatch.#bytes = Math.floor(bytes * LONGEST_READ / ms / 16) * 16;
      stopwatch.#fastest = Infinity;
      await stopwatch.#readOnce();
    }
    if (!isHost(device.kind)) await stopwatch.#warmUp();
    return stopwatch;
  }

  /** The fastest read yet. */
  get bytesPerSecond(): number {
    return this.#bytes / this.#fastest * 1000;
  }

  /**
   * Median of the milliseconds that the device takes for what `record` records; says so if it was never at its full speed.
   *
   * @param together how often it is recorded to be measured as one: a kernel that follows others, as in a step, does not pay for the start of a pass. What it
   *   reads should by far exceed the caches of the device, so it is told which of them it is
   * @param runs how many count
   */
  async milliseconds(record: (run: number) => void, together = 1, runs = RUNS): Promise<number> {
    const device = this.#device;
    const measure = async () =>
      await device.measure(() => {
        for (let run = 0; run < together; run++) record(run);
      }) / together;
    await measure();
    const all: number[] = [];
    let counted: { readonly ms: number; readonly read: number }[] = [];
    while (counted.length < runs && all.length < MOST_RUNS) {
      for (let lead = 0; !isHost(device.kind) && lead < LEAD; lead += this.#fastest) {
        this.#recordRead();
        device.submit();
      }
      const before = await this.#readOnce();
      const ms = await measure();
      const read = Math.max(before, await this.#readOnce());
      all.push(ms);
      // A processor shares its memory with everything else on the host, and has no clock to wait for.
      const most = isHost(device.kind) ? Infinity : this.#fastest * AGREEMENT;
      counted = [...counted, { ms, read }].filter((run) => run.read <= most);
    }
    if (counted.length === 0) console.log(`(never at full speed in ${all.length} runs: the next figure is too large)`);
    return median(counted.length > 0 ? counted.map(({ ms }) => ms) : all);
  }

  /** Frees what is read. */
  stop(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }

  #recordRead(): void {
    this.#device.run(this.#read, { vectors: this.#bytes / 16 });
  }

  async #readOnce(): Promise<number> {
    const ms = await this.#device.measure(() => this.#recordRead());
    this.#fastest = Math.min(this.#fastest, ms);
    return ms;
  }

  async #warmUp(): Promise<void> {
    const began = performance.now();
    while (performance.now() - began < WARM_UP) {
      for (let lead = 0; lead < LEAD; lead += this.#fastest) {
        this.#recordRead();
        this.#device.submit();
      }
      await this.#readOnce();
    }
  }
}
