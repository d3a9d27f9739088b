/**
 * What ranks exchange between the segments of a step, where it lies on the device, and where the others' goes: their parts of a block's output; or what their shares
 * of tokens have come to, by which they weigh their parts of attention.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { dtypeBytes } from "../../core/wire/messages.ts";
import type { BoundKernel, DeviceBuffer, Readback } from "../../kernels/device/device.ts";
import { roundInput } from "../../kernels/linear/round_input.ts";
import type { Exchanged } from "../collective/collective.ts";
import { mostRows } from "./activations.ts";
import type { ModelContext } from "./context.ts";

/** Parts of a block's output, [rows, D], as they are sent; or log-sum-exps, [rows, heads], always in f32. */
export type Owed = "parts" | "shares";

/** Bytes on their way to a buffer. */
export interface Upload {
  readonly buffer: DeviceBuffer;
  /** In bytes. */
  readonly offset: number;
  readonly data: ArrayBufferView<ArrayBuffer>;
}

/** One model's. */
export class Exchanges {
  /** Most bytes of what this rank gives the others at a time. */
  readonly bytes: number;
  readonly #context: ModelContext;
  /** Rounds this rank's part of a block's output to what is sent; null where it is sent as it is. */
  readonly #round: BoundKernel<"rows"> | null;

  private constructor(context: ModelContext, round: BoundKernel<"rows"> | null) {
    const { activations: { delta, sentPart, lse }, group: { wire } } = context;
    this.bytes = Math.max((wire === "f32" ? delta : sentPart).bytes, lse.bytes);
    this.#context = context;
    this.#round = round;
  }

  /** Compiles and binds. @throws {LatentmeshError} `invalid_config` if parts cannot be rounded */
  static async create(context: ModelContext): Promise<Exchanges> {
    const { device, spec, limits, group: { ranks, wire }, activations: { delta, sentPart } } = context;
    if (ranks === 1 || wire === "f32") return new Exchanges(context, null);
    const { hiddenSize: columns } = spec;
    if (columns % 8 !== 0) {
      throw new LatentmeshError("invalid_config", `Cannot send f16 between ranks: the hidden size ${columns} is not a multiple of 8`, {
        param: "decode.wire",
      });
    }
    const rounding = await device.compile(roundInput, { columns, inputStride: columns, input: "plain" });
    return new Exchanges(context, rounding.bind({ x: delta, y: sentPart }, { rows: mostRows(limits) }));
  }

  /** How many values of the wire a rank gives the others for `rows` rows. */
  values(owed: Owed, rows: number): number {
    const { spec, group: { wire } } = this.#context;
    return owed === "parts" ? rows * spec.hiddenSize : rows * spec.heads * 4 / dtypeBytes(wire);
  }

  /** Records that this rank's comes back as it is sent. */
  record(owed: Owed, rows: number, readback: Readback): void {
    const { device, activations: { delta, sentPart, lse } } = this.#context;
    if (owed === "parts" && this.#round !== null) device.run(this.#round, { rows });
    device.read(readback, owed === "shares" ? lse : this.#round === null ? delta : sentPart, 0, this.#bytes(owed, rows));
  }

  /**
   * What is to be uploaded of an exchange before what consumes it is submitted.
   *
   * @param first value, counted from the first row, at which it begins
   * @param rows of the whole
   */
  uploads(owed: Owed, exchanged: Exchanged, first: number, rows: number): Upload[] {
    const { activations: { delta }, group: { wire } } = this.#context;
    if ("sum" in exchanged) return [{ buffer: delta, offset: first * 4, data: exchanged.sum }];
    const [buffer, stride, offset] = [this.#others(owed), this.#bytes(owed, rows), first * dtypeBytes(wire)];
    return exchanged.parts.flatMap((data, i) => data === null ? [] : [{ buffer, offset: i * stride + offset, data }]);
  }

  /** Uploads what one rank gave for `rows` rows before the others' has come; the exchange then has `null` for it. */
  take(owed: Owed, other: number, part: Uint8Array<ArrayBuffer>, rows: number): void {
    this.#context.device.write(this.#others(owed), other * this.#bytes(owed, rows), part);
  }

  #others(owed: Owed): DeviceBuffer {
    const { otherParts, otherLse } = this.#context.activations;
    return owed === "parts" ? otherParts : otherLse;
  }

  #bytes(owed: Owed, rows: number): number {
    return this.values(owed, rows) * dtypeBytes(this.#context.group.wire);
  }
}
