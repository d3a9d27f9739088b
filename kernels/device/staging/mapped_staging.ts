/**
 * Blocks that are buffers of the device while they are not filled.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import type { LatentmeshError } from "../../../core/errors.ts";
import type { GpuPlace } from "../gpu_parts.ts";
import type { DawnPolling, WaitKind } from "../dawn_polling.ts";
import type { DeviceBuffer, StagedCopy, StagingBlock } from "../device.ts";
import { BlockRing } from "./block_ring.ts";

/** A buffer while it is mapped. */
interface MappedBlock extends StagingBlock {
  readonly gpu: GPUBuffer;
}

/** What {@link MappedStaging} needs of its device. */
export interface MappedStagingOptions {
  readonly gpu: GPUDevice;
  /** Dawn's; null where nothing must be looked at for mappings to settle. */
  readonly polling: DawnPolling | null;
  /** What is behind a device's buffer, and where it begins there. */
  gpuOf(buffer: DeviceBuffer): GpuPlace;
  /** Why the device failed, if it did. */
  failure(): LatentmeshError | null;
}

/** Buffers that are mapped while they are filled: nothing is copied on the host, and no memory is allocated on the way. */
export class MappedStaging extends BlockRing<MappedBlock> {
  readonly #options: MappedStagingOptions;
  readonly #waits: WaitKind | null;

  constructor(options: MappedStagingOptions, blockBytes: number, blocks: number) {
    super();
    this.#options = options;
    this.#waits = options.polling?.kind() ?? null;
    for (let i = 0; i < blocks; i++) {
      const usage = GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC;
      this.release(this.#blockOf(options.gpu.createBuffer({ label: "staging", size: blockBytes, usage, mappedAtCreation: true })));
    }
  }

  protected override destroy(blocks: readonly MappedBlock[]): void {
    for (const { gpu } of blocks) gpu.destroy();
  }

  #blockOf(buffer: GPUBuffer): MappedBlock {
    return { gpu: buffer, memory: new Uint8Array(buffer.getMappedRange()), copy: (parts) => this.#copy(buffer, parts) };
  }

  #copy(buffer: GPUBuffer, parts: readonly StagedCopy[]): void {
    const { gpu, gpuOf } = this.#options;
    buffer.unmap();
    const encoder = gpu.createCommandEncoder();
    for (const { from, buffer: target, to, bytes } of parts) {
      const { gpu: destination, offset } = gpuOf(target);
      encoder.copyBufferToBuffer(buffer, from, destination, offset + to, bytes);
    }
    gpu.queue.submit([encoder.finish()]);
    this.releaseWhen(this.#mapAgain(buffer));
  }

  async #mapAgain(buffer: GPUBuffer): Promise<MappedBlock> {
    try {
      const mapping = buffer.mapAsync(GPUMapMode.WRITE);
      await (this.#waits?.(0).until(mapping) ?? mapping);
      return this.#blockOf(buffer);
    } catch (error) {
      // A mapping fails because the device did; what became of the device is told a turn later.
      await setImmediate();
      throw this.#options.failure() ?? error;
    }
  }
}
