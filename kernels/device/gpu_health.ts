/**
 * Whether a GPU device can still be used: what went wrong first is why everything after it fails.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import type { GpuDeviceOptions } from "./gpu_parts.ts";

/** Of one device. */
export class GpuHealth {
  /** Resolves with the reason when the device is gone, or has refused something; never where it was closed before. */
  readonly lost: Promise<LatentmeshError>;
  readonly #lost = Promise.withResolvers<LatentmeshError>();
  #failure: LatentmeshError | null = null;
  #closed = false;

  constructor(gpu: GPUDevice, { kind, description }: Pick<GpuDeviceOptions, "kind" | "description">) {
    this.lost = this.#lost.promise;
    gpu.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#fail(deviceError(kind, (event as GPUUncapturedErrorEvent).error));
    });
    gpu.lost.then((info) => {
      // `destroy` also settles this promise; a device we closed ourselves is not lost.
      if (this.#closed) return;
      this.#fail(new LatentmeshError("device_lost", `The ${kind} device (${description}) was lost: ${info.message || info.reason}`));
    });
  }

  /** What went wrong first; null: nothing. */
  get failure(): LatentmeshError | null {
    return this.#failure;
  }

  /** Throws what went wrong first. */
  check(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  /** Whatever comes now is because it is closed. */
  closing(): void {
    this.#closed = true;
  }

  #fail(error: LatentmeshError): void {
    if (this.#closed) return;
    this.#failure ??= error;
    this.#lost.resolve(this.#failure);
  }
}

/** What Dawn or Deno say of themselves, in our words. */
function deviceError(kind: string, error: GPUError): LatentmeshError {
  // By name: Dawn's error classes are not the global ones.
  return error.constructor.name === "GPUOutOfMemoryError"
    ? new LatentmeshError(
      "out_of_memory",
      `The ${kind} device is out of memory: ${messageOf(error)} (try --weights q8 or q4, or a smaller --max-tokens-total)`,
    )
    : new LatentmeshError("internal", `The ${kind} device refused a command: ${error.message}`);
}
