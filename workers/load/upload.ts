/**
 * Carries a plan out: several blocks are filled at a time, each by reads from the checkpoint, while others are on their way to the device. Host memory never holds
 * more than those blocks.
 *
 * @module
 */
import { readRange } from "../../core/model/checkpoint.ts";
import { mapLimited } from "../../core/limited.ts";
import { roundUp } from "../../core/numeric.ts";
import { together } from "../../core/together.ts";
import { type Fill, leastBlockBytes, planFills } from "./fills.ts";
import type { LoadClock } from "./load_clock.ts";
import type { UploadPlan } from "./upload_plan.ts";

/** Sizes of what is between files and device. */
export interface UploadSizes {
  readonly blockBytes: number;
  /** Blocks, which is also how many reads are under way at most. */
  readonly blocks: number;
}

/** 96 MiB: in Deno, a block comes back 10 ms after it was copied. */
export const UPLOAD_SIZES: UploadSizes = { blockBytes: 16 << 20, blocks: 6 };

/** So that one is filled while another is on its way. */
const LEAST_BLOCKS = 2;

/** Options of {@link upload}. */
export interface UploadOptions {
  readonly clock: LoadClock;
  readonly sizes?: UploadSizes;
  /** Ends it early: what is being read is, and nothing more. */
  readonly signal?: AbortSignal;
  /** Told how many bytes of the checkpoint have been read for tensors that are on their way. */
  onStored(bytes: number): void;
}

/** Uploads everything. @throws {LatentmeshError} */
export async function upload(plan: UploadPlan, options: UploadOptions): Promise<void> {
  const { device } = plan;
  const { clock, onStored } = options;
  let stored = 0;
  const advance = (bytes: number) => onStored(stored += bytes);
  await together([
    uploadRead(plan, { ...options, onStored: advance }),
    clock.time("compute", async () => {
      for (const { run, storedBytes } of plan.computed) {
        options.signal?.throwIfAborted();
        await run();
        advance(storedBytes);
      }
    }),
  ]);
  await clock.time("device", () => device.settle());
}

async function uploadRead(plan: UploadPlan, { clock, sizes = UPLOAD_SIZES, signal, onStored }: UploadOptions): Promise<void> {
  const wanted = Math.max(sizes.blockBytes, leastBlockBytes(plan));
  const fills = planFills(plan, wanted);
  if (fills.length === 0) return;
  const used = fills.reduce((most, fill) => Math.max(most, bytesOf(fill)), 0);
  // Of blocks that are larger, since a conversion is not split, there are fewer.
  const blocks = Math.min(sizes.blocks, fills.length, Math.max(LEAST_BLOCKS, Math.floor(sizes.blocks * sizes.blockBytes / used)));
  const staging = plan.device.createStaging(used, blocks);
  const scratches: Scratch[] = [];
  try {
    await mapLimited(fills, blocks, async (fill) => {
      signal?.throwIfAborted();
      const block = await clock.time("device", () => staging.take(), blocks);
      const scratch = scratches.pop() ?? new Scratch();
      let filled = false;
      try {
        await fillBlock(fill, block.memory, { scratch, clock, lanes: blocks });
        filled = true;
      } finally {
        block.copy(filled ? fill.copies : []);
        scratches.push(scratch);
      }
      onStored(fill.storedBytes);
    });
  } finally {
    await staging.close();
  }
}

/** Working memory of what is converted, which grows to what is needed. */
class Scratch {
  #stored: Uint8Array<ArrayBuffer>[] = [];
  #converted: Uint8Array<ArrayBuffer> = new Uint8Array();

  /** For what is read. @param index which of the reads of a conversion */
  stored(index: number, bytes: number): Uint8Array<ArrayBuffer> {
    if ((this.#stored[index]?.byteLength ?? 0) < bytes) this.#stored[index] = new Uint8Array(bytes);
    return this.#stored[index].subarray(0, bytes);
  }

  /** For what it becomes, zeroed. */
  converted(bytes: number): Uint8Array<ArrayBuffer> {
    if (this.#converted.byteLength < bytes) this.#converted = new Uint8Array(bytes);
    return this.#converted.subarray(0, bytes).fill(0);
  }
}

async function fillBlock(
  { reads, conversions }: Fill,
  memory: Uint8Array<ArrayBuffer>,
  { scratch, clock, lanes }: { readonly scratch: Scratch; readonly clock: LoadClock; readonly lanes: number },
): Promise<void> {
  for (const { range, at } of reads) await clock.time("read", () => readRange(range, memory.subarray(at, at + range.bytes)), lanes);
  for (const { upload: { reads, bytes, convert }, at } of conversions) {
    const stored: Uint8Array<ArrayBuffer>[] = [];
    for (const [i, range] of reads.entries()) {
      stored.push(await clock.time("read", () => readRange(range, scratch.stored(i, range.bytes)), lanes));
    }
    clock.timeNow("convert", () => {
      // Conversions read what they have written, which a block's memory is not made for.
      const converted = scratch.converted(bytes);
      convert(stored, converted);
      memory.set(converted, at);
    });
  }
}

function bytesOf({ copies }: Fill): number {
  return roundUp(Math.max(...copies.map(({ from, bytes }) => from + bytes)), 16);
}
