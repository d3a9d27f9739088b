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
import type { ModelSpec } from "../model/spec.ts";
import { randomBits } from "../random.ts";
import { latentColumns } from "./latent_columns.ts";
import { chosenWidthsSchema, type MeasuredWidths } from "./chosen_widths.ts";
import { BASIS_DEFAULTS, type LayerBasis, type LayerStatistics } from "./layer_basis.ts";

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
  /** For some numbers of latent groups. */
  readonly chosen: readonly MeasuredWidths[];
  /** d_c */
  readonly width: number;
  readonly statistics: readonly LayerStatistics[];
  /** `balanced` under the defaults. */
  readonly defaults: readonly LayerBasis[];
}

const FORMAT = "latentmesh basis 1";

const whole = (most: number) => z.string().regex(/^\d{1,15}$/).transform(Number).refine((value) => value <= most);

const metadataSchema = z.object({
  format: z.literal(FORMAT),
  modelHash: z.string().length(64),
  textHash: z.string().length(64),
  tokens: whole(Number.MAX_SAFE_INTEGER),
  width: whole(2 ** 14),
  layers: whole(1024),
  lambda: z.string().transform(Number),
  chosen: z.string().max(2 ** 20).transform(parseJson).pipe(chosenWidthsSchema).optional(),
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
    ...(basis.chosen.length === 0 ? {} : { chosen: JSON.stringify(basis.chosen) }),
  });
}

/** What JSON says; what is none is what no schema takes. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * What a file says of widths, without the rest of it: whoever plans a cluster asks for it. Of a file that cannot be used it says nothing; {@link readBasis} tells why.
 *
 * @param source null: there is no file
 */
export async function readChosenWidths(source: ByteSource | null, { layers }: Pick<ModelSpec, "layers">): Promise<readonly MeasuredWidths[]> {
  if (source === null) return [];
  try {
    const { metadata } = await readSafetensorsHeader(source);
    return (metadataSchema.parse(metadata).chosen ?? []).filter(({ widths }) => widths.length === layers);
  } catch {
    return [];
  }
}

/**
 * Reads a file.
 *
 * @param model what it is for
 * @throws {LatentmeshError} `invalid_checkpoint` if it is not such a file, not whole, not for such a model, or if its numbers cannot be what they are said to be
 */
export async function readBasis(source: ByteSource, model?: Pick<ModelSpec, "layers" | "latentWidth">): Promise<CalibratedBasis> {
  const refuse = (problem: string): never => {
    throw new LatentmeshError("invalid_checkpoint", `Cannot use ${source.name}: ${problem}; make it anew with "deno task calibrate"`);
  };
  const { tensors, metadata } = await readSafetensorsHeader(source);
  const parsed = metadataSchema.safeParse(metadata);
  if (!parsed.success) return refuse("it is not a basis made by this version");
  const { width, layers, modelHash, textHash, tokens, chosen = [] } = parsed.data;
  if (model !== undefined && (model.layers !== layers || model.latentWidth !== width)) {
    refuse(`it is for ${layers} layers with latents of ${width}, this model has ${model.layers} with latents of ${model.latentWidth}`);
  }
  if (tensors.size !== layers * (STATISTICS.length + BASIS.length)) {
    refuse(`it holds ${tensors.size} tensors, which is not what ${layers} layers have`);
  }
  for (const { latentGroups, widths } of chosen) {
    if (widths.length !== layers) refuse(`it has widths for ${widths.length} of ${layers} layers`);
    if (widths.some((each) => latentColumns(width, { latentGroups, halo: 0, width: each }) === null)) {
      refuse(`${latentGroups} latent groups cannot have the widths ${widths.join(", ")} of ${width}`);
    }
  }
  const read = async <N extends string>(layer: number, names: readonly N[]) => {
    const entries: [N, Float64Array][] = [];
    for (const name of names) {
      const path = `layers.${layer}.${name}`;
      const info = tensors.get(path) ?? refuse(`${path} is missing`);
      const shape = name === "eigenvalues" ? [width] : [width, width];
      if (info.dtype !== "F32" || info.shape.join() !== shape.join()) {
        refuse(`${path} is ${info.dtype} [${info.shape.join(", ")}] where F32 [${shape.join(", ")}] is expected`);
      }
      const values = Float64Array.from(new Float32Array((await source.read(info.offset, info.bytes)).buffer));
      if (!values.every(Number.isFinite)) refuse(`${path} holds numbers that are none`);
      entries.push([name, values]);
    }
    return Object.fromEntries(entries) as Record<N, Float64Array>;
  };
  const statistics: LayerStatistics[] = [];
  const defaults: LayerBasis[] = [];
  for (let layer = 0; layer < layers; layer++) {
    statistics.push(await read(layer, STATISTICS));
    const basis = await read(layer, BASIS);
    if (!isInverse(basis, width)) refuse(`the matrices of layer ${layer} are not each other's inverse`);
    defaults.push(basis);
  }
  return { provenance: { modelHash, textHash, tokens }, chosen, width, statistics, defaults };
}

/** Largest deviation, of numbers near 1, that rounding matrices to float32 may make. */
const TOLERANCE = 0.05;

/** Whether transform · inverse is the identity, as far as one vector of random signs can tell. Unless it is, what is served is nonsense. */
function isInverse({ transform, inverse }: LayerBasis, width: number): boolean {
  const probe = Float64Array.from({ length: width }, (_, i) => randomBits(width, 0, i) & 1 ? 1 : -1);
  const back = times(transform, times(inverse, probe, width), width);
  return back.every((value, i) => Math.abs(value - probe[i]) < TOLERANCE);
}

function times(matrix: Float64Array, vector: Float64Array, width: number): Float64Array {
  return vector.map((_, row) => {
    let sum = 0;
    for (let column = 0; column < width; column++) sum += matrix[row * width + column] * vector[column];
    return sum;
  });
}

function tensor(name: string, values: Float64Array, width: number): TensorData {
  const data = Float32Array.from(values);
  const shape = data.length === width * width ? [width, width] : [data.length];
  return { name, dtype: "F32", shape, bytes: new Uint8Array(data.buffer) };
}
