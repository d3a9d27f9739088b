/**
 * Attention of a prefill chunk over expanded keys and values, of which each row attends to those that were chosen for it: as `mla_prefill.ts` otherwise.
 *
 * @module
 */
import { constants, type Kernel } from "../authoring/contract.ts";
import chosenTokens from "./chosen_tokens.wgsl" with { type: "text" };
import {
  attendRows,
  mlaPrefill,
  type MlaPrefillBindings,
  type MlaPrefillConfig,
  type MlaPrefillParams,
  prefillWasm,
  prefillWgsl,
} from "./mla_prefill.ts";
import { mlaPrefillMatrix, type MlaPrefillMatrixConfig, unitsWgsl } from "./matrix_units.ts";
import unitsChosenTokens from "./units_chosen_tokens.wgsl" with { type: "text" };

/** Which tokens were chosen. */
interface Chosen {
  /** Words of a row of bits. */
  readonly stride: number;
}

/** Configuration of {@link prefillChosen}. */
export interface PrefillChosenConfig extends MlaPrefillConfig, Chosen {}

/** Configuration of {@link prefillChosenMatrix}. */
export interface PrefillChosenMatrixConfig extends MlaPrefillMatrixConfig, Chosen {}

/** `chosen`: [rows, stride] words, in which bit p % 32 of word ⌊p / 32⌋ says whether the row attends to position p; each row attends to one that it sees at least. */
export const prefillChosen: Kernel<PrefillChosenConfig, MlaPrefillBindings | "chosen", MlaPrefillParams> = {
  name: "prefill_chosen",
  bindings: { ...mlaPrefill.bindings, chosen: "read" },
  params: mlaPrefill.params,
  wgsl: (config) => constants({ CHOSEN_STRIDE: config.stride }) + prefillWgsl(config, chosenTokens),
  workgroups: mlaPrefill.workgroups,
  sizes: (config, params) => ({ ...mlaPrefill.sizes(config, params), chosen: params.rows * config.stride * 4 }),
  reference: (config, { q, keys, rope_keys, values, state, out, chosen }, params) =>
    attendRows(
      config,
      { q: q.f32, keys: keys.f32, ropeKeys: rope_keys.f32, values: values.f32, state: state.f32, out: out.f32, chosen: chosen.u32 },
      params,
      config.stride,
    ),
  wasm: (config) => prefillWasm(config, config.stride),
};

/** As {@link prefillChosen}, on matrix units: see {@link mlaPrefillMatrix}. */
export const prefillChosenMatrix: Kernel<PrefillChosenMatrixConfig, MlaPrefillBindings | "chosen", MlaPrefillParams> = {
  name: "prefill_chosen",
  bindings: { ...mlaPrefillMatrix.bindings, chosen: "read_write" },
  params: mlaPrefill.params,
  wgsl: (config) => constants({ CHOSEN_STRIDE: config.stride }) + unitsWgsl(config, unitsChosenTokens),
  workgroups: mlaPrefillMatrix.workgroups,
  sizes: (config, params) => ({ ...mlaPrefillMatrix.sizes(config, params), chosen: params.rows * config.stride * 4 }),
  reference: (config, { q, keys, rope_keys, values, state, out, chosen }, params) =>
    attendRows(
      config,
      { q: q.f32, keys: keys.f16, ropeKeys: rope_keys.f16, values: values.f16, state: state.f32, out: out.f32, chosen: chosen.u32 },
      params,
      config.stride,
    ),
};
