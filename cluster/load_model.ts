/**
 * What a coordinator reads of a model: everything but its weights, and the basis for its decode groups, calibrating if the model has none.
 *
 * @module
 */
import { LatentmeshError } from "../core/errors.ts";
import { modelHash, sha256 } from "../core/model/model_hash.ts";
import { readModelPackage } from "../core/model_package.ts";
import { readBasis } from "../core/tpla/basis_file.ts";
import { ClusterModel, resolveCuts, schemeNeedsCalibration } from "./assignment.ts";
import { readDocuments } from "./commands/score.ts";
import { log } from "./log.ts";
import { showProgress } from "./progress.ts";
import type { ClusterServices, OpenFiles } from "./services.ts";
import { EMBEDDED_MODEL, type Settings } from "./settings.ts";

/** Tokens of a calibration; fewer than this and the statistics show the text more than the model. */
export const CALIBRATION_TOKENS = 16384;

/** Reads a model. @throws {LatentmeshError} if it, or the way it is to be cut, cannot be used */
export async function loadClusterModel(settings: Settings, services: ClusterServices): Promise<ClusterModel> {
  using files = services.openFiles(settings.model);
  const model = await readModelPackage(files);
  resolveCuts(settings, model);
  const hash = await modelHash(model.configText, model.checkpoint);
  const directory = await files.location();
  if (!schemeNeedsCalibration(settings)) return new ClusterModel(model, { directory, basisFile: null }, { model: hash, basis: null });
  const basisFile = await findBasis(files, hash) ?? await calibrateInto(cachedBasis(hash), settings, services);
  const source = (await files.openPath(basisFile))!;
  const { provenance } = await readBasis(source);
  if (provenance.modelHash !== hash) {
    throw new LatentmeshError(
      "invalid_checkpoint",
      `Cannot use ${basisFile}: it was made for another model; make it anew with "deno task calibrate"`,
    );
  }
  return new ClusterModel(model, { directory, basisFile: await Deno.realPath(basisFile) }, {
    model: hash,
    basis: await sha256(await source.read(0, source.size)),
  });
}

/** The file beside the model, or one that was made before. */
async function findBasis(files: OpenFiles, hash: string): Promise<string | null> {
  for (const path of [`${files.name}/basis.safetensors`, cachedBasis(hash)]) if (await files.openPath(path) !== null) return path;
  return null;
}

/** Where a basis is kept whose model's directory is not ours to write. */
function cachedBasis(hash: string): string {
  const home = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME") ?? "."}/.cache`;
  return `${home}/latentmesh/${hash}.basis.safetensors`;
}

async function calibrateInto(path: string, { model, device, dawn }: Settings, { calibrate }: ClusterServices): Promise<string> {
  log("info", `calibrating: ${model} has no basis.safetensors yet; this is done once`);
  const progress = showProgress("calibrating", (tokens) => `${tokens} tokens`);
  const documents = await readDocuments(`${decodeURIComponent(EMBEDDED_MODEL.pathname)}/calibration.json`);
  const calibration = await calibrate({
    model,
    device,
    dawn,
    documents,
    tokens: CALIBRATION_TOKENS,
    onProgress: ({ done, total }) => progress.update(done, total),
  }).finally(() => progress.stop());
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  // Another process must never see half a file.
  const unfinished = `${path}.${Deno.pid}`;
  await Deno.writeFile(unfinished, calibration.file);
  await Deno.rename(unfinished, path);
  log("info", `wrote ${path} from ${calibration.provenance.tokens} tokens`);
  return path;
}
