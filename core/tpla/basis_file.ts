/**
 * `basis.safetensors`: the statistics of a calibration and the default basis made from them, with where they came from. Other bases follow from the statistics
 * without calibrating again.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError } from "../errors.ts";
import { type ByteSource, readSafetensorsHeader } from "../model/safetensors.ts";
import { type TensorData, writeSafetensors } from "../model/safetensors_writer.ts";
import { BASIS_DEFAULTS, type BasisKind, type BasisOptions, chooseBasis, type LayerBasis, type LayerStatistics } from "./basis.ts";

/** Where a basis came from. */
export interface BasisProvenance {
  /** See `modelHash`. */
  readonly modelHash: string;
  /** SHA-256 of the calibration tokens. */
  readonly textHash: string;
  /** Tokens of the calibration. */
  readonly tokens: number;
}

/** A calibrated model's bases. */
export interface CalibratedBasis {
  readonly provenance: BasisProvenance;
  /** d_c */
  readonly width: number;
  readonly statistics: readonly LayerStatistics[];
  /** `balanced` under the defaults. */
  readonly defaults: readonly LayerBasis[];
}

const FORMAT = "latentmesh basis 1";

const metadataSchema = z.object({
  format: z.literal(FORMAT),
  modelHash: z.string().length(64),
  textHash: z.string().length(64),
  tokens: z.string().regex(/^\d+$/).transform(Number),
  width: z.string().regex(/^\d+$/).transform(Number),
  layers: z.string().regex(/^\d+$/).transform(Number),
  lambda: z.string().transform(Number),
});

const STATISTICS = ["latents", "queries", "values"] as const;
const BASIS = ["transform", "inverse", "eigenvalues"] as const;

/** The bytes of the file; matrices in float32. */
export function writeBasis(basis: CalibratedBasis): Uint8Array<ArrayBuffer> {
  const { provenance, width } = basis;
  const tensors = basis.statistics.flatMap((statistics, layer) => [
    ...STATISTICS.map((name) => tensor(`layers.${layer}.${name}`, statistics[name], width)),
    ...BASIS.map((name) => tensor(`layers.${layer}.${name}`, basis.defaults[layer][name], width)),
  ]);
  return writeSafetensors(tensors, {
    format: FORMAT,
    modelHash: provenance.modelHash,
    textHash: provenance.textHash,
    tokens: String(provenance.tokens),
    width: String(width),
    layers: String(basis.statistics.length),
    lambda: String(BASIS_DEFAULTS.lambda),
  });
}

/**
 * Reads a file.
 *
 * @throws {LatentmeshError} `invalid_checkpoint` if it is not such a file or not whole
 */
export async function readBasis(source: ByteSource): Promise<CalibratedBasis> {
  const { tensors, metadata } = await readSafetensorsHeader(source);
  const parsed = metadataSchema.safeParse(metadata);
  if (!parsed.success) {
    throw new LatentmeshError("invalid_checkpoint", `Cannot read ${source.name}: it is not a basis made by this version; run "deno task calibrate"`);
  }
  const { width, layers, modelHash, textHash, tokens } = parsed.data;
  const read = async <N extends string>(layer: number, names: readonly N[]) => {
    const entries: [N, Float64Array][] = [];
    for (const name of names) {
      const info = tensors.get(`layers.${layer}.${name}`);
      if (info === undefined || info.dtype !== "F32") {
        throw new LatentmeshError("invalid_checkpoint", `Cannot read ${source.name}: layers.${layer}.${name} is missing`);
      }
      entries.push([name, Float64Array.from(new Float32Array((await source.read(info.offset, info.bytes)).buffer))]);
    }
    return Object.fromEntries(entries) as Record<N, Float64Array>;
  };
  const statistics: LayerStatistics[] = [];
  const defaults: LayerBasis[] = [];
  for (let layer = 0; layer < layers; layer++) {
    statistics.push(await read(layer, STATISTICS));
    defaults.push(await read(layer, BASIS));
  }
  return { provenance: { modelHash, textHash, tokens }, width, statistics, defaults };
}

/** The basis of every layer for a choice of kind and λ. */
export function layerBases(calibrated: CalibratedBasis, kind: BasisKind, options: BasisOptions = BASIS_DEFAULTS): readonly LayerBasis[] {
  if (kind === "balanced" && options.lambda === BASIS_DEFAULTS.lambda) return calibrated.defaults;
  return calibrated.statistics.map((statistics) => chooseBasis(kind, calibrated.width, statistics, options));
}

function tensor(name: string, values: Float64Array, width: number): TensorData {
  const data = Float32Array.from(values);
  const shape = data.length === width * width ? [width, width] : [data.length];
  return { name, dtype: "F32", shape, bytes: new Uint8Array(data.buffer) };
}
