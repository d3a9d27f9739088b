/**
 * Blocks of plain host memory, for devices that have nothing better.
 *
 * @module
 */
import type { Device, StagingBlock } from "../device.ts";
import { BlockRing } from "./block_ring.ts";

/** Host memory whose bytes are written with {@link Device.write}, for devices that have no better way. */
export class WrittenStaging extends BlockRing<StagingBlock> {
  /** @param device that is written to; a block is free when it has settled */
  constructor(device: Pick<Device, "write" | "settle">, blockBytes: number, blocks: number) {
    super();
    for (let i = 0; i < blocks; i++) {
      const block: StagingBlock = {
        memory: new Uint8Array(blockBytes),
        copy: (parts) => {
          for (const { from, buffer, to, bytes } of parts) device.write(buffer, to, block.memory.subarray(from, from + bytes));
          this.releaseWhen(device.settle().then(() => block));
        },
      };
      this.release(block);
    }
  }

  protected override destroy(): void {}
}
