/**
 * A registry in a directory, on one machine or on a disk that several share: one file for each cell, replaced as a whole.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import type { RecordTexts } from "../../core/registry/membership.ts";
import type { CellFacts, CellRegistry, CellWatch, Registration } from "../../core/registry/registry.ts";
import { PolledWatch } from "./polled_watch.ts";
import type { RecordStore } from "./record_store.ts";
import { Registrar } from "./registrar.ts";

/** How often things happen, in milliseconds. */
export interface FileRegistryTimes {
  /** Between two looks; default: 500. */
  readonly pollMs?: number;
  /** See `CELL_BEAT` and `CELL_TTL`. */
  readonly beatMs?: number;
  readonly ttlMs?: number;
}

const POLL = 500;

/** What the names of records end with. */
const SUFFIX = ".cell.json";
/** Files that are longer are no records. */
const MOST_BYTES = 64 << 10;

/** Cells of a directory. */
export class FileRegistry implements CellRegistry {
  readonly name: string;
  readonly #directory: string;
  readonly #times: FileRegistryTimes;

  constructor(directory: string, times: FileRegistryTimes = {}) {
    this.name = `file:${directory}`;
    this.#directory = directory.replace(/(?<=.)\/+$/, "");
    this.#times = times;
  }

  register(facts: () => CellFacts, onLost: (problem: string) => void): Promise<Registration> {
    return Registrar.register(this.#store(), { name: this.name, facts, onLost, beatMs: this.#times.beatMs });
  }

  async watch(onChange: () => void): Promise<CellWatch> {
    const { pollMs = POLL, ttlMs } = this.#times;
    try {
      return await PolledWatch.start({ name: this.name, list: () => this.#list(), onChange, pollMs, ttlMs });
    } catch (cause) {
      throw new LatentmeshError("not_found", `Cannot read the registry ${this.name}: ${messageOf(cause)}; create the directory, or name another`, {
        cause,
      });
    }
  }

  #store(): RecordStore {
    const path = (id: string) => `${this.#directory}/${id}${SUFFIX}`;
    return {
      read: (id) => textOf(path(id)),
      write: (id, text, instance) => this.#write(path(id), text, instance),
      remove: (id) => Deno.remove(path(id)).catch(unlessMissing),
    };
  }

  /**
   * Readers never see half of a record. It is written anew at every beat, so that nothing of it is worth waiting for a disk; and each operation waits for a turn of the
   * event loop, which has few while a cell computes: as few as will do.
   */
  async #write(path: string, text: string, instance: string): Promise<void> {
    const unfinished = `${path}.${instance}`;
    try {
      await Deno.writeTextFile(unfinished, text).catch(async (error) => {
        unlessMissing(error);
        await Deno.mkdir(this.#directory, { recursive: true });
        await Deno.writeTextFile(unfinished, text);
      });
      await Deno.rename(unfinished, path);
    } catch (cause) {
      await Deno.remove(unfinished).catch(() => {});
      throw new LatentmeshError("capacity", `Cannot write ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  async #list(): Promise<RecordTexts> {
    const texts = new Map<string, string | Error>();
    for await (const { name, isFile, isSymlink } of Deno.readDir(this.#directory)) {
      // Whoever opens a pipe waits for somebody who writes.
      if (!(isFile || isSymlink) || !name.endsWith(SUFFIX)) continue;
      // Others can be read where one cannot.
      const text = await textOf(`${this.#directory}/${name}`).catch((error) => error instanceof Error ? error : new Error(messageOf(error)));
      if (text !== null) texts.set(name, text);
    }
    return texts;
  }
}

/** null where there is no such file. */
async function textOf(path: string): Promise<string | null> {
  try {
    using file = await Deno.open(path);
    const bytes = new Uint8Array(MOST_BYTES);
    let filled = 0;
    while (filled < bytes.length) {
      const wanted = bytes.length - filled;
      const count = await file.read(bytes.subarray(filled)) ?? 0;
      filled += count;
      // Of a file, less comes at its end only.
      if (count < wanted) break;
    }
    return new TextDecoder().decode(bytes.subarray(0, filled));
  } catch (error) {
    return unlessMissing(error) ?? null;
  }
}

function unlessMissing(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
