/**
 * Which basis every layer gets, for a choice of kind and what a model has been calibrated with.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import type { ByteSource } from "../model/safetensors.ts";
import { cachedLayers, type ModelSpec } from "../model/spec.ts";
import { type CalibratedBasis, readBasis } from "./basis_file.ts";
import { BASIS_DEFAULTS, type BasisKind, fixedBasis, type LayerBasis } from "./layer_basis.ts";
import { needsCalibration } from "./scheme.ts";

/**
 * The basis of every layer whose latents are cached. A layer that drafts is never calibrated: it has one that spreads what is lost over all directions.
 *
 * @param calibration `basis.safetensors`; null if the model has none
 * @throws {LatentmeshError} `not_found` if one is needed
 */
export async function basesFor(
  spec: ModelSpec,
  { kind, lambda }: { readonly kind: BasisKind; readonly lambda: number },
  calibration: ByteSource | null,
): Promise<readonly LayerBasis[]> {
  if (!needsCalibration(kind)) return Array<LayerBasis>(cachedLayers(spec)).fill(fixedBasis(kind, spec.latentWidth));
  if (calibration === null) throw new LatentmeshError("not_found", `The ${kind} basis needs basis.safetensors; make it with "deno task calibrate"`);
  const file = await readBasis(calibration, spec);
  const calibrated = kind === "balanced" && lambda === BASIS_DEFAULTS.lambda ? file.defaults : await made(file, kind, lambda);
  return spec.mtp ? [...calibrated, fixedBasis("hadamard", spec.latentWidth)] : calibrated;
}

/** Loaded when needed: workers seldom compute eigenvalues. */
async function made(file: CalibratedBasis, kind: BasisKind, lambda: number): Promise<readonly LayerBasis[]> {
  const { layerBases } = await import("./basis.ts");
  return layerBases(file, kind, { ...BASIS_DEFAULTS, lambda });
}
