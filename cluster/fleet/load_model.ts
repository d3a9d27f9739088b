/**
 * What a coordinator reads of a model: everything but its weights, and the basis for its decode groups, calibrating if the model has none.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { besideModel } from "../../core/model/gguf/parts.ts";
import { modelHash, sha256 } from "../../core/model/model_hash.ts";
import { type ModelPackage, readModelPackage } from "../../core/model_package.ts";
import { readBasis } from "../../core/tpla/basis_file.ts";
import { ClusterModel, resolveCuts, schemeNeedsCalibration } from "../planning/assignment.ts";
import { readDocuments } from "../text/documents.ts";
import { formatHubName } from "../hub/hub_name.ts";
import { log } from "../logs/log.ts";
import { PrivateDirectory } from "../processes/private_directory.ts";
import { showProgress } from "../logs/progress.ts";
import type { ClusterServices, OpenFiles } from "../planning/services.ts";
import { CALIBRATION_TOKENS } from "../config/calibration_tokens.ts";
import { embeddedTexts } from "../config/embedded_model.ts";
import type { Settings } from "../config/settings.ts";
import { cacheHome } from "../processes/cache_home.ts";
import { spawnText } from "../text/spawn_text.ts";
import { TextWork } from "../text/text_work.ts";
import { writeWhole } from "../processes/write_whole.ts";

/** Milliseconds that tokenising the text of a calibration may take. */
const CALIBRATION_TIMEOUT = 60_000;

/** Reads a model. @throws {LatentmeshError} if it, or the way it is to be cut, cannot be used */
export async function loadClusterModel(settings: Settings, services: ClusterServices): Promise<ClusterModel> {
  using files = services.openFiles(settings.model);
  const model = await readModelPackage(files, settings.decode.speculate);
  resolveCuts(settings, model);
  const hash = await modelHash(model.configText, model.checkpoint);
  const directory = await files.location();
  if (!schemeNeedsCalibration(settings)) return new ClusterModel(model, { directory, basisFile: null }, { model: hash, basis: null });
  const found = await findBasis(files, hash);
  const { path: basisFile, temporary } = found === null
    ? await calibrateInto(cachedBasis(hash), model, settings, services)
    : { path: found, temporary: null };
  try {
    const source = (await files.openPath(basisFile))!;
    const { provenance } = await readBasis(source, model.spec);
    if (provenance.modelHash !== hash) {
      throw new LatentmeshError(
        "invalid_checkpoint",
        `Cannot use ${basisFile}: it was made for another model; make it anew with "deno task calibrate"`,
      );
    }
    return new ClusterModel(model, { directory, basisFile: await Deno.realPath(basisFile), temporary }, {
      model: hash,
      basis: await sha256(await source.read(0, source.size)),
    });
  } catch (error) {
    await temporary?.close();
    throw error;
  }
}

/** The file beside the model, or one that was made before. */
async function findBasis(files: OpenFiles, hash: string): Promise<string | null> {
  for (const path of [besideModel(files.name, "basis.safetensors"), cachedBasis(hash)]) if (await files.openPath(path) !== null) return path;
  return null;
}

/** Where a basis is kept whose model's directory is not ours to write. */
function cachedBasis(hash: string): string {
  return `${cacheHome()}/${hash}.basis.safetensors`;
}

/** Where a basis was written. */
interface WrittenBasis {
  readonly path: string;
  /** Of this run alone, where it could not be kept. */
  readonly temporary: PrivateDirectory | null;
}

async function calibrateInto(
  path: string,
  model: ModelPackage,
  { model: directory, hub, device, dawn }: Settings,
  { calibrate }: ClusterServices,
): Promise<WrittenBasis> {
  log("info", `calibrating: ${hub === undefined ? directory : formatHubName(hub)} has no basis.safetensors yet; this is done once`);
  const progress = showProgress("calibrating", (tokens) => `${tokens} tokens`);
  const texts = await readDocuments(await embeddedTexts());
  const calibration = await calibrate({
    model: directory,
    device,
    dawn,
    documents: await tokenized(model, texts),
    tokens: CALIBRATION_TOKENS,
    onProgress: ({ done, total }) => progress.update(done, total),
  }).finally(() => progress.stop());
  const written = await keep(path, calibration.file);
  log("info", `wrote ${written.path} from ${calibration.provenance.tokens} tokens`);
  return written;
}

/** Tokens of texts, found in a process that can be ended: there are expressions in tokenizers that take years. */
async function tokenized(model: ModelPackage, texts: readonly string[]): Promise<readonly number[][]> {
  const { maxPositions: maxContext, vocabSize } = model.spec;
  const source = { id: model.id, vocabSize, context: { maxContext }, source: model.textSource };
  const work = await TextWork.start(source, { spawn: spawnText, processes: 1, jobTimeout: CALIBRATION_TIMEOUT });
  try {
    return (await work.run("encode", texts, { client: "" })).map((tokens) => [...tokens]);
  } catch (cause) {
    const problem = `Cannot calibrate ${model.textSource.name}: its tokenizer fails on the built-in text: ${messageOf(cause)}`;
    throw new LatentmeshError("invalid_checkpoint", problem, { cause });
  } finally {
    await work.close();
  }
}

/** Keeps a basis for the next start, or at least for this one: a full disk does not take a calibration away that took minutes. */
async function keep(path: string, file: Uint8Array<ArrayBuffer>): Promise<WrittenBasis> {
  const problems: string[] = [];
  try {
    await writeWhole(path, file);
    return { path, temporary: null };
  } catch (error) {
    problems.push(messageOf(error));
  }
  for (const parent of [undefined, "/dev/shm"]) {
    try {
      const written = await keepForNow(parent, file);
      log("warn", `${problems[0]}; the calibration is used for this run, and will be made again at the next start`);
      return written;
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  throw new LatentmeshError("capacity", `The calibration cannot be written anywhere: ${problems.join("; ")}`);
}

async function keepForNow(parent: string | undefined, file: Uint8Array<ArrayBuffer>): Promise<WrittenBasis> {
  const temporary = await PrivateDirectory.create(parent);
  const path = `${temporary.path}/basis.safetensors`;
  try {
    await writeWhole(path, file);
    return { path, temporary };
  } catch (error) {
    await temporary.close();
    throw error;
  }
}
