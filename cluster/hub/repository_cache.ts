/**
 * One model's folder in the cache, as Python's huggingface_hub lays it out: `blobs` by their hash, `snapshots` of commits that link to them, `refs` from names of
 * revisions to commits; and beside all models `.locks`.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import type { HubFile } from "./listing.ts";
import { isCommit } from "./hub_name.ts";

/** What names of models' folders begin with. */
export const MODEL_FOLDER = "models--";

/** Paths of one model. */
export class RepositoryCache {
  readonly root: string;
  readonly #locks: string;

  /** @param cache directory of the cache @param repository `org/name` */
  constructor(cache: string, repository: string) {
    const folder = MODEL_FOLDER + repository.replaceAll("/", "--");
    this.root = `${cache}/${folder}`;
    this.#locks = `${cache}/.locks/${folder}`;
  }

  /** Directory of locks. */
  get locks(): string {
    return this.#locks;
  }

  blob({ hash }: Pick<HubFile, "hash">): string {
    return `${this.root}/blobs/${hash.hex}`;
  }

  /** The beginning of a blob, as far as it has come. Older versions of Python's library go on with these, too. */
  partial(file: Pick<HubFile, "hash">): string {
    return `${this.blob(file)}.incomplete`;
  }

  lock({ hash }: Pick<HubFile, "hash">): string {
    return `${this.#locks}/${hash.hex}.lock`;
  }

  snapshot(commit: string): string {
    return `${this.root}/snapshots/${commit}`;
  }

  /** Whether a file of a commit can be read, in its length. */
  async has(commit: string, { path, size }: HubFile): Promise<boolean> {
    return await sizeOf(`${this.snapshot(commit)}/${path}`) === size;
  }

  /** Makes a blob a file of a commit. A link that leads elsewhere gives way at once, without a moment in which there is none. */
  async link(commit: string, file: HubFile): Promise<void> {
    const path = `${this.snapshot(commit)}/${file.path}`;
    const unfinished = `${this.root}/snapshots/.${unique()}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    const up = "../".repeat(file.path.split("/").length + 1);
    try {
      await Deno.symlink(`${up}blobs/${file.hash.hex}`, unfinished);
    } catch (error) {
      // Systems that have no links, or not for everybody: Python copies there, too.
      if (Deno.build.os !== "windows") throw error;
      await Deno.copyFile(this.blob(file), unfinished);
    }
    await Deno.rename(unfinished, path);
  }

  /** The commit that a revision was when it was last asked for; null if it never was. */
  async commitOf(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision;
    try {
      const commit = (await Deno.readTextFile(`${this.root}/refs/${revision}`)).trim();
      return isCommit(commit) ? commit : null;
    } catch {
      return null;
    }
  }

  /** Remembers which commit a revision is. */
  async remember(revision: string, commit: string): Promise<void> {
    if (isCommit(revision) || await this.commitOf(revision) === commit) return;
    const [path, unfinished] = [`${this.root}/refs/${revision}`, `${this.root}/.${unique()}`];
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    // All that lies in `refs` is taken for a revision.
    await Deno.writeTextFile(unfinished, commit);
    await Deno.rename(unfinished, path);
  }

  /** Makes the folders that files are put into. @throws {LatentmeshError} `invalid_config` if that is not possible */
  async prepare(): Promise<void> {
    try {
      for (const folder of [`${this.root}/blobs`, `${this.root}/snapshots`, `${this.root}/refs`, this.#locks]) {
        await Deno.mkdir(folder, { recursive: true });
      }
    } catch (cause) {
      throw new LatentmeshError("invalid_config", `Cannot keep models in ${this.root}: ${messageOf(cause)}; set HF_HOME to a directory of yours`, {
        cause,
      });
    }
  }
}

/** A name that nobody else has. */
function unique(): string {
  return crypto.randomUUID().slice(0, 8);
}

/** Bytes of a file, wherever links lead; null if there is none. */
export async function sizeOf(path: string): Promise<number | null> {
  try {
    const { isFile, size } = await Deno.stat(path);
    return isFile ? size : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return null;
    throw error;
  }
}
