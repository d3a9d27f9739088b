/**
 * Linear layers in one dispatch with another, or with something else: in decode each alone is short.
 *
 * @module
 */
import { Beside, type BesideSide } from "../../kernels/device/beside.ts";
import type { Params } from "../../kernels/authoring/contract.ts";
import type { LinearBindings, LinearParams } from "../../kernels/linear/linear.ts";
import { Linear } from "./linear.ts";
import {
  configOf,
  type DecodeSide,
  decodeSides,
  type LayerBeside,
  type LinearBinding,
  type LinearContext,
  paramsOf,
  type Part,
  type Phase,
  unnormedSide,
} from "./linear_binding.ts";
import { bindDecodeRounding, type Rounding } from "./rounding.ts";
import type { DeviceMatrix } from "./weights.ts";

/** Both, in steps of up to `upTo` rows. */
interface BesideWay<P extends string> {
  readonly upTo: number;
  readonly both: Beside<P, LinearParams>;
}

/** A linear layer and something that does not read its result, nor it that thing's: one dispatch in decode, where both are short. */
class LinearBeside<P extends string> {
  readonly #ways: readonly BesideWay<P>[];
  readonly #part: Part;
  readonly #itemsPerRow: number;
  readonly #round: Rounding | null;

  private constructor(ways: readonly BesideWay<P>[], part: Part, itemsPerRow: number, round: Rounding | null) {
    this.#ways = ways;
    this.#part = part;
    this.#itemsPerRow = itemsPerRow;
    this.#round = round;
  }

  /**
   * Compiles and binds.
   *
   * @param other what runs beside it, given how the layer is decoded; which it is, if it is one, whose input has been rounded if it is to be
   * @param same bindings that are one of the other's; of x only where both take the same
   * @returns null if the matrix had to be split, or the device does not allow as many bindings
   */
  static async create<C, B extends string, P extends string>(
    context: LinearContext,
    matrix: DeviceMatrix,
    binding: LinearBinding,
    other: { readonly layer?: LayerBeside; of(way: Pick<DecodeSide, "upTo" | "threads">): BesideSide<C, B, P> },
    same: Partial<Record<LinearBindings, B>> = {},
  ): Promise<LinearBeside<P> | null> {
    if (matrix.parts.length !== 1) return null;
    const [part] = matrix.parts;
    const ways = await Promise.all(
      decodeSides(context, matrix, part, binding, other.layer).map(async ({ side, ...way }) => {
        const first = other.of(way);
        const { x, ...rest } = same;
        const sameInput = x !== undefined && first.buffers[x] === side.buffers.x;
        const both = await Beside.create(context.device, first, side, sameInput ? same : rest as typeof same);
        return both === null ? null : { upTo: way.upTo, both };
      }),
    );
    if (!ways.every((way) => way !== null)) return null;
    const round = await bindDecodeRounding(context, matrix, binding);
    return new LinearBeside(ways, paramsOf(matrix, configOf(matrix, binding).select, part), binding.itemsPerRow ?? 1, round);
  }

  /** Records both. */
  run(rows: number, other: Params<P>): void {
    const items = rows * this.#itemsPerRow;
    this.#round?.(items);
    this.#ways.find(({ upTo }) => rows <= upTo)!.both.run(other, { ...this.#part, items });
  }
}

/** What runs beside a layer. */
interface Companion<C, B extends string, P extends string> {
  /** Which layer it is, if it is one. */
  readonly layer?: LayerBeside;
  /** Bindings of the layer that are one of its. */
  readonly same?: Partial<Record<LinearBindings, B>>;
  /** It, given how the layer is decoded. */
  of(way: Pick<DecodeSide, "upTo" | "threads">): BesideSide<C, B, P>;
  /** Records it by itself, in prefill, and in decode if it `decodes` so. */
  alone(decodes: boolean): Promise<(phase: Phase, params: Params<P>) => void>;
}

/** A linear layer and something that does not wait for it, nor it for that: in decode in one dispatch, if the device can; otherwise that thing first. */
export class LinearWith<P extends string> {
  readonly #beside: LinearBeside<P> | null;
  readonly #linear: Linear;
  readonly #alone: (phase: Phase, params: Params<P>) => void;

  private constructor(beside: LinearBeside<P> | null, linear: Linear, alone: (phase: Phase, params: Params<P>) => void) {
    this.#beside = beside;
    this.#linear = linear;
    this.#alone = alone;
  }

  /** Compiles and binds. */
  static async create<C, B extends string, P extends string>(
    context: LinearContext,
    matrix: DeviceMatrix,
    binding: LinearBinding,
    other: Companion<C, B, P>,
  ): Promise<LinearWith<P>> {
    const beside = await LinearBeside.create(context, matrix, binding, other, other.same);
    const apart = beside === null ? binding : { ...binding, most: { ...binding.most, decode: 0 } };
    const [linear, alone] = await Promise.all([Linear.create(context, matrix, apart), other.alone(beside === null)]);
    return new LinearWith(beside, linear, alone);
  }

  /** Records both. */
  run(phase: Phase, rows: number, other: Params<P>): void {
    if (phase === "decode" && this.#beside !== null) return this.#beside.run(rows, other);
    this.#alone(phase, other);
    this.#linear.run(phase, rows);
  }
}

/** Two linear layers of one input. */
export class LinearPair {
  readonly #apart: readonly [Linear, Linear];
  readonly #beside: LinearBeside<LinearParams> | null;
  readonly #unnormed: Beside<LinearParams, LinearParams> | null;
  readonly #parts: readonly [Part, Part];

  private constructor(
    apart: readonly [Linear, Linear],
    beside: LinearBeside<LinearParams> | null,
    unnormed: Beside<LinearParams, LinearParams> | null,
    parts: readonly [Part, Part],
  ) {
    this.#apart = apart;
    this.#beside = beside;
    this.#unnormed = unnormed;
    this.#parts = parts;
  }

  /** Compiles and binds. */
  static async create(
    context: LinearContext,
    first: PairSide,
    second: PairSide,
  ): Promise<LinearPair> {
    const [part] = first.matrix.parts;
    const sides = decodeSides(context, first.matrix, part, first.binding, second);
    const beside = first.matrix.parts.length !== 1 ? null : await LinearBeside.create(
      context,
      second.matrix,
      second.binding,
      { layer: first, of: ({ upTo }) => sides.find((side) => side.upTo === upTo)!.side },
      { x: "x", routes: "routes" },
    );
    const apart = async ({ matrix, binding }: PairSide) =>
      await Linear.create(context, matrix, beside === null ? binding : { ...binding, most: { ...binding.most, decode: 0 } });
    const partOf = ({ matrix }: PairSide) => paramsOf(matrix, { kind: "all" }, matrix.parts[0]);
    const [one, two, unnormed] = await Promise.all([
      apart(first),
      apart(second),
      beside === null ? null : createUnnormedPair(context, first, second),
    ]);
    return new LinearPair([one, two], beside, unnormed, [partOf(first), partOf(second)]);
  }

  /** Whether {@link runUnnormed} is possible. */
  get normalises(): boolean {
    return this.#unnormed !== null;
  }

  /** Records both multiplications of `items` rows. */
  run(phase: Phase, items: number): void {
    if (phase === "decode" && this.#beside !== null) return this.#beside.run(items, { ...this.#parts[0], items });
    const [first, second] = this.#apart;
    first.run(phase, items);
    second.run(phase, items, first.rounds);
  }

  /** Records both multiplications of one row in decode, which they normalise themselves. */
  runUnnormed(): void {
    const [first, second] = this.#parts;
    this.#unnormed!.run({ ...first, items: 1 }, { ...second, items: 1 });
  }
}

/** One of two layers of one input. */
interface PairSide {
  readonly matrix: DeviceMatrix;
  readonly binding: LinearBinding;
}

/** Of matrices in one part each. */
async function createUnnormedPair(
  context: LinearContext,
  first: PairSide,
  second: PairSide,
): Promise<Beside<LinearParams, LinearParams> | null> {
  const [a, b] = [first, second].map(({ matrix, binding }) => unnormedSide(context, matrix, matrix.parts[0], binding));
  if (a === null || b === null) return null;
  return await Beside.create(context.device, a, b, { x: "x", routes: "routes", gamma: "gamma", normed: "normed" });
}
