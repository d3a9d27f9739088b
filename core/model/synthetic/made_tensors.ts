/**
 * The tensors of a synthetic model's file, and how their elements are made.
 *
 * @module
 */
import { ceilDiv } from "../../numeric.ts";
import { leastGroup } from "../int4/int4_spec.ts";
import type { SafetensorsDtype } from "../safetensors.ts";
import type { ModelSpec } from "../spec.ts";
import type { TensorRole } from "../tensor_names.ts";
import { modelTensors } from "./model_tensors.ts";
import { BF16_INT4_SCALE, syntheticElements, syntheticWords } from "./weights.ts";

/** Elements of a tensor, in the order of the file. */
interface Elements {
  readonly begin: number;
  readonly end: number;
}

/** A tensor that is made when it is read. */
export interface Made {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly elementBytes: number;
  make(elements: Elements): Uint16Array<ArrayBuffer> | Int32Array<ArrayBuffer>;
}

/** What has four bits where a model has some. */
const QUANTISED: readonly TensorRole[] = ["expertGate", "expertUp", "expertDown"];

/** All of them, in the order of the file. */
export function madeTensors(spec: ModelSpec, seed: number): Made[] {
  return modelTensors(spec).flatMap(({ name, role, shape }): Made[] => {
    if (spec.int4 === null || !QUANTISED.includes(role)) {
      return [{ name, dtype: "BF16", shape, elementBytes: 2, make: (elements) => syntheticElements(seed, name, shape, elements) }];
    }
    const [rows, columns] = shape;
    const base = name.slice(0, -".weight".length);
    const scales = [rows, ceilDiv(columns, leastGroup(spec.int4)!)];
    return [
      {
        name: `${base}.weight_packed`,
        dtype: "I32",
        shape: [rows, ceilDiv(columns, 8)],
        elementBytes: 4,
        make: (elements) => syntheticWords(seed, name, columns, elements),
      },
      {
        name: `${base}.weight_scale`,
        dtype: "BF16",
        shape: scales,
        elementBytes: 2,
        make: ({ begin, end }) => new Uint16Array(end - begin).fill(BF16_INT4_SCALE),
      },
    ];
  });
}
