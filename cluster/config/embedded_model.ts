/**
 * The embedded model: beside the code in a checkout; of a package that was imported from elsewhere, fetched once and kept.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { abortableFetch } from "../../core/net/abortable_fetch.ts";
import { watchSilence } from "../../core/silence.ts";
import { showProgress } from "../logs/progress.ts";
import { cacheHome } from "../processes/cache_home.ts";
import { writeWhole } from "../processes/write_whole.ts";
import { log } from "../logs/log.ts";

/** Milliseconds without a byte after which fetching is given up. */
const MOST_SILENCE = 30_000;

/** Where it was published. */
export const EMBEDDED_MODEL: URL = new URL("../../models/tiny-mla", import.meta.url);

/** A file of the model. */
export interface EmbeddedFile {
  readonly name: string;
  readonly bytes: number;
  /** SHA-256, in hexadecimal. */
  readonly digest: string;
}

/** Its files, the one that makes it whole last. */
export const EMBEDDED_FILES: readonly EmbeddedFile[] = [
  { name: "config.json", bytes: 1305, digest: "8c47c0120836aa3c34a677f542449face158ca28c58b50c575ff1574490ae408" },
  { name: "generation_config.json", bytes: 216, digest: "c7e377358c2a14cc459ec08c47cf77fb053174b9d1e05fa04c3acaf9319ebd3f" },
  { name: "tokenizer_config.json", bytes: 578, digest: "615c8e86a6a73f0a813e438cb31cea0d107dbce4bff09615f14bd31ce72a7218" },
  { name: "tokenizer.json", bytes: 231565, digest: "9772d6de7cc98b5fddb0906976636e2b5df977d10b48b7237c717020a13f725d" },
  { name: "calibration.json", bytes: 118980, digest: "74212f5412ffe91918751c7bc0eb0fb7169d4d858062e2a287fefd30b3707afd" },
  { name: "basis.safetensors", bytes: 1972736, digest: "775d6d91fbc415f247cd31e5817e3b0150755c730bb5cfa4f011b9ea6d5172b6" },
  { name: "model.safetensors", bytes: 14801124, digest: "6b7433fbecf2b59d0c513789d22897ac2cf0f75d8f8770e2be8a4c8b0afa2875" },
];

/** What tests fetch instead. */
export interface FetchOptions {
  readonly from?: URL;
  readonly files?: readonly EmbeddedFile[];
  /** Milliseconds without a byte after which fetching is given up. */
  readonly silentMs?: number;
}

/** Its directory; of a package from elsewhere, where {@link fetchEmbeddedModel} puts it. */
export function embeddedDirectory(from: URL = EMBEDDED_MODEL): string {
  if (from.protocol === "file:") return decodeURIComponent(from.pathname);
  return `${cacheHome()}/tiny-mla-${EMBEDDED_FILES.at(-1)!.digest.slice(0, 16)}`;
}

/**
 * Fetches the embedded model if `model` is its directory and it is not there. Files are checked against what they were when this code was published, and are there
 * whole or not at all.
 *
 * @throws {LatentmeshError} `not_found` saying what could not be fetched, `invalid_checkpoint` if it is another file
 */
export async function fetchEmbeddedModel(
  model: string,
  { from = EMBEDDED_MODEL, files = EMBEDDED_FILES, silentMs = MOST_SILENCE }: FetchOptions = {},
): Promise<void> {
  if (from.protocol === "file:" || model !== embeddedDirectory(from)) return;
  const missing: EmbeddedFile[] = [];
  for (const file of files) if (!await isThere(`${model}/${file.name}`, file.bytes)) missing.push(file);
  if (missing.length === 0) return;
  const total = missing.reduce((sum, { bytes }) => sum + bytes, 0);
  log("info", `fetching the embedded model to ${model}; this is done once`);
  const progress = showProgress("fetching");
  let done = 0;
  try {
    for (const file of missing) {
      const url = new URL(`${from.pathname}/${file.name}`, from);
      await writeWhole(`${model}/${file.name}`, await fetchFile(url, file, silentMs, (bytes) => progress.update(done += bytes, total)));
    }
  } finally {
    progress.stop();
  }
}

/** The file of texts that calibrations take by default, fetched if need be. @throws {LatentmeshError} as {@link fetchEmbeddedModel} */
export async function embeddedTexts(): Promise<string> {
  await fetchEmbeddedModel(embeddedDirectory());
  return `${embeddedDirectory()}/calibration.json`;
}

async function isThere(path: string, bytes: number): Promise<boolean> {
  try {
    return (await Deno.stat(path)).size === bytes;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** A file's bytes, if they are those that are expected. @param onBytes told of bytes as they come */
async function fetchFile(
  url: URL,
  { bytes, digest }: EmbeddedFile,
  silentMs: number,
  onBytes: (bytes: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  const content = new Uint8Array(bytes);
  let filled = 0;
  const silence = new AbortController();
  const heard = () => watchSilence(silentMs, () => silence.abort(new Error(`the server says nothing for ${silentMs / 1000} s`)));
  let stop = heard();
  try {
    const response = await abortableFetch(url, { signal: silence.signal });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`the server answers ${response.status}`);
    }
    for await (const part of response.body ?? []) {
      stop();
      stop = heard();
      if (filled + part.length > bytes) throw new Error(`it has more than ${bytes} bytes`);
      content.set(part, filled);
      filled += part.length;
      onBytes(part.length);
    }
  } catch (cause) {
    throw new LatentmeshError("not_found", `Cannot fetch ${url}: ${messageOf(cause)}. Name a model of your own instead.`, { cause });
  } finally {
    stop();
  }
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", content)).toHex();
  if (filled === bytes && found === digest) return content;
  throw new LatentmeshError("invalid_checkpoint", `Cannot use ${url}: it is not the file that was published with this code`);
}
