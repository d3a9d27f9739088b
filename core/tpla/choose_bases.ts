/**
 * Which basis every layer gets, for a choice of kind and what a model has been calibrated with.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import type { ByteSource } from "../model/safetensors.ts";
import { cachedLayers, type ModelSpec } from "../model/spec.ts";
import { BASIS_DEFAULTS, type BasisKind, chooseBasis, type LayerBasis } from "./basis.ts";
import { layerBases, readBasis } from "./basis_file.ts";
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
  if (!needsCalibration(kind)) return Array.from({ length: cachedLayers(spec) }, () => chooseBasis(kind, spec.latentWidth, null));
  if (calibration === null) throw new LatentmeshError("not_found", `The ${kind} basis needs basis.safetensors; make it with "deno task calibrate"`);
  const calibrated = layerBases(await readBasis(calibration, spec), kind, { ...BASIS_DEFAULTS, lambda });
  return spec.mtp ? [...calibrated, chooseBasis("hadamard", spec.latentWidth, null)] : calibrated;
}
