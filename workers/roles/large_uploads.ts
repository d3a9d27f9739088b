/**
 * The way of large parts of sums to the device. `writeBuffer` copies them into memory that Dawn allocates each time, which takes longer than everything else about a
 * prompt's sum; blocks of staging memory are there already.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import type { Device, Staging } from "../../kernels/device/device.ts";
import type { Upload } from "../forward/exchanges.ts";

/** Bytes from which on an upload goes this way. */
const LARGE_BYTES = 1 << 20;
const BLOCK_BYTES = 2 << 20;
/** Blocks for what is on its way while others are filled. */
const BLOCKS = 8;

/** Uploads for one rank's prompts. */
export class LargeUploads {
  readonly #device: Device;
  /** null: there is no better way than {@link Device.write}. */
  readonly #staging: Staging | null;

  /** @param mostBytes of an upload: where none is large, no memory is taken for them */
  constructor(device: Device, mostBytes: number) {
    this.#device = device;
    // Deno maps a buffer again only after 10 ms.
    const pays = device.kind === "dawn" && mostBytes >= LARGE_BYTES;
    this.#staging = pays ? device.createStaging(BLOCK_BYTES, Math.min(BLOCKS, 2 * ceilDiv(mostBytes, BLOCK_BYTES))) : null;
  }

  /** Uploads all of them, before anything that is submitted later. Resolves when their memory may be another's. */
  async write(uploads: readonly Upload[]): Promise<void> {
    for (const upload of uploads) {
      if (this.#staging === null || upload.data.byteLength < LARGE_BYTES) this.#device.write(upload.buffer, upload.offset, upload.data);
      else await this.#stage(this.#staging, upload);
    }
  }

  /** Gives the memory back when it is no longer read. */
  async close(): Promise<void> {
    await this.#staging?.close();
  }

  async #stage(staging: Staging, { buffer, offset, data }: Upload): Promise<void> {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    for (let from = 0; from < bytes.length; from += BLOCK_BYTES) {
      const part = bytes.subarray(from, from + BLOCK_BYTES);
      const block = await staging.take();
      block.memory.set(part);
      block.copy([{ from: 0, buffer, to: offset + from, bytes: part.length }]);
    }
  }
}
