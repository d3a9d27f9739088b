/**
 * Linear layers in one dispatch with another, or with something else: in decode each alone is short.
 *
 * @module
 */
import { Beside, type BesideSide } from "../kernels/beside.ts";
import type { Params } from "../kernels/contract.ts";
import type { LinearBindings, LinearParams } from "../kernels/linear/linear.ts";
import type { MatvecConfig } from "../kernels/linear/matvec.ts";
import { Linear } from "./linear.ts";
import {
  decodeSide,
  ITEMS_AT_ONCE,
  type LinearBinding,
  type LinearContext,
  paramsOf,
  type Part,
  type Phase,
  unnormedSide,
} from "./linear_binding.ts";
import type { DeviceMatrix } from "./weights.ts";

/** A linear layer and something that does not read its result, nor it that thing's: one dispatch in decode, where both are short. */
export class LinearBeside<P extends string> {
  readonly #single: Beside<P, LinearParams>;
  readonly #several: Beside<P, LinearParams>;
  readonly #part: Part;

  private constructor(single: Beside<P, LinearParams>, several: Beside<P, LinearParams>, part: Part) {
    this.#single = single;
    this.#several = several;
    this.#part = part;
  }

  /**
   * Compiles and binds.
   *
   * @param other what runs beside it, given how the layer is divided
   * @returns null if the matrix had to be split, or the device does not allow as many bindings
   */
  static async create<C, B extends string, P extends string>(
    { device }: LinearContext,
    matrix: DeviceMatrix,
    binding: LinearBinding,
    other: (config: MatvecConfig) => BesideSide<C, B, P>,
    same: Partial<Record<LinearBindings, B>> = {},
  ): Promise<LinearBeside<P> | null> {
    if (matrix.parts.length !== 1) return null;
    const [part] = matrix.parts;
    const bind = (itemsAtOnce: number) => {
      const side = decodeSide(matrix, part, binding, itemsAtOnce);
      return Beside.create(device, other(side.config), side, same);
    };
    const [single, several] = await Promise.all([bind(1), bind(ITEMS_AT_ONCE)]);
    return single === null || several === null ? null : new LinearBeside(single, several, paramsOf(matrix, { kind: "all" }, part));
  }

  /** Records both. */
  run(items: number, other: Params<P>): void {
    (items === 1 ? this.#single : this.#several).run(other, { ...this.#part, items });
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
    const beside = first.matrix.parts.length !== 1 ? null : await LinearBeside.create(
      context,
      second.matrix,
      second.binding,
      ({ itemsAtOnce }) => decodeSide(first.matrix, part, first.binding, itemsAtOnce),
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
  { device }: LinearContext,
  first: PairSide,
  second: PairSide,
): Promise<Beside<LinearParams, LinearParams> | null> {
  const [a, b] = [first, second].map(({ matrix, binding }) => unnormedSide(device, matrix, matrix.parts[0], binding));
  if (a === null || b === null) return null;
  return await Beside.create(device, a, b, { x: "x", routes: "routes", gamma: "gamma", normed: "normed" });
}
