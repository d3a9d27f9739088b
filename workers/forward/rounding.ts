/**
 * Rounding the inputs of a linear layer to f16 by themselves, where who wrote them did not.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { roundInput } from "../../kernels/linear/round_input.ts";
import { itemsPerInput } from "../../kernels/linear/select.ts";
import { configOf, decodesOnUnits, type LinearBinding, type LinearContext, mostItems, type Phase } from "./linear_binding.ts";
import type { DeviceMatrix } from "./weights.ts";

/** Records the rounding of the inputs of so many items. */
export type Rounding = (items: number) => void;

/** Compiles and binds it: from where they are to `activations.rounded`. */
export async function bindRounding(
  { device, activations }: LinearContext,
  matrix: DeviceMatrix,
  binding: LinearBinding,
  phase: Phase,
): Promise<Rounding> {
  const { layout: { columns }, inputStride, input, select } = configOf(matrix, binding);
  const rowsOf = (items: number) => ceilDiv(items, itemsPerInput(select));
  const rounding = await device.compile(roundInput, { columns, inputStride, input });
  const bound = rounding.bind({ x: binding.x, y: activations.rounded }, { rows: rowsOf(mostItems(binding, phase)) });
  return (items) => device.run(bound, { rows: rowsOf(items) });
}

/** That of a layer of decode, if it needs one. */
export async function bindDecodeRounding(context: LinearContext, matrix: DeviceMatrix, binding: LinearBinding): Promise<Rounding | null> {
  const needed = binding.rounded?.decode === undefined && decodesOnUnits(context, { matrix, binding });
  return needed ? await bindRounding(context, matrix, binding, "decode") : null;
}
