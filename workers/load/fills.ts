/**
 * What goes into each block of staging memory, so that files are read from front to back and in large pieces, whichever tensors they belong to. Pure.
 *
 * @module
 */
import type { FileRange } from "../../core/model/checkpoint.ts";
import { roundUp } from "../../core/numeric.ts";
import type { StagedCopy } from "../../kernels/device/device.ts";
import type { ConvertedUpload, UploadPlan, VerbatimUpload } from "./upload_plan.ts";

/** A read into a block. */
export interface PlacedRead {
  readonly range: FileRange;
  /** First byte in the block. */
  readonly at: number;
}

/** A conversion into a block. */
export interface PlacedConversion {
  readonly upload: ConvertedUpload;
  /** First byte in the block. */
  readonly at: number;
}

/** The contents of one block. */
export interface Fill {
  readonly reads: readonly PlacedRead[];
  readonly conversions: readonly PlacedConversion[];
  /** Where they go. */
  readonly copies: readonly StagedCopy[];
  /** Bytes of the checkpoint that are read for it. */
  readonly storedBytes: number;
}

/** Parts of a block begin at multiples of this. */
const ALIGNMENT = 16;

/** Bytes that a block must have at least: a conversion is not split. */
export function leastBlockBytes({ converted }: Pick<UploadPlan, "converted">): number {
  return converted.reduce((most, { bytes }) => Math.max(most, roundUp(bytes, ALIGNMENT)), ALIGNMENT);
}

/** Everything that is read, in blocks of at most `blockBytes`, in the order in which files hold it. */
export function planFills(plan: Pick<UploadPlan, "verbatim" | "converted">, blockBytes: number): Fill[] {
  const fills: Fill[] = [];
  let current = new FillBuilder(blockBytes);
  const next = () => {
    fills.push(current.fill);
    current = new FillBuilder(blockBytes);
  };
  for (const upload of inFileOrder(plan)) {
    if ("reads" in upload) {
      if (current.room < upload.bytes) next();
      current.convert(upload);
      continue;
    }
    const { range: { source, offset, bytes }, buffer, to } = upload;
    for (let done = 0; done < bytes;) {
      if (current.room === 0) next();
      const count = Math.min(bytes - done, current.room);
      current.read({ source, offset: offset + done, bytes: count }, { buffer, to: to + done });
      done += count;
    }
  }
  if (current.fill.copies.length > 0) fills.push(current.fill);
  return fills;
}

function inFileOrder({ verbatim, converted }: Pick<UploadPlan, "verbatim" | "converted">): (VerbatimUpload | ConvertedUpload)[] {
  const first = (upload: VerbatimUpload | ConvertedUpload) => "reads" in upload ? upload.reads[0] : upload.range;
  return [...verbatim, ...converted].map((upload) => ({ upload, begin: first(upload) }))
    .sort(({ begin: a }, { begin: b }) => a.source === b.source ? a.offset - b.offset : a.source.name < b.source.name ? -1 : 1)
    .map(({ upload }) => upload);
}

/** A block that is being filled. */
class FillBuilder {
  readonly fill = { reads: [] as PlacedRead[], conversions: [] as PlacedConversion[], copies: [] as StagedCopy[], storedBytes: 0 };
  readonly #blockBytes: number;
  #used = 0;

  constructor(blockBytes: number) {
    this.#blockBytes = blockBytes;
  }

  get room(): number {
    return this.#blockBytes - this.#used;
  }

  /** @param range a multiple of 4 bytes */
  read(range: FileRange, target: Pick<StagedCopy, "buffer" | "to">): void {
    const at = this.#take(range.bytes);
    const last = this.fill.reads.at(-1);
    // What is side by side in the file, whatever tensors it belongs to, is read at once.
    if (last !== undefined && last.at + last.range.bytes === at && followsOn(last.range, range)) {
      this.fill.reads[this.fill.reads.length - 1] = { range: { ...last.range, bytes: last.range.bytes + range.bytes }, at: last.at };
    } else this.fill.reads.push({ range, at });
    this.fill.copies.push({ ...target, from: at, bytes: range.bytes });
    this.fill.storedBytes += range.bytes;
  }

  convert(upload: ConvertedUpload): void {
    const at = this.#take(upload.bytes);
    this.fill.conversions.push({ upload, at });
    this.fill.copies.push(...upload.parts.map((part) => ({ ...part, from: at + part.from })));
    this.fill.storedBytes += upload.reads.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  #take(bytes: number): number {
    const at = this.#used;
    this.#used = Math.min(this.#blockBytes, roundUp(at + bytes, ALIGNMENT));
    return at;
  }
}

function followsOn(before: FileRange, after: FileRange): boolean {
  return before.source === after.source && before.offset + before.bytes === after.offset;
}
