/**
 * Keeps one cell's record in a store: takes the name, writes at every beat, and notices if another process takes the name away.
 *
 * @module
 */
import { type CellRecord, readRecord, REGISTRY_PROTOCOL, writeRecord } from "../../core/registry/cell_record.ts";
import { CELL_BEAT, supersedes } from "../../core/registry/membership.ts";
import type { CellFacts, Registration } from "../../core/registry/registry.ts";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { log } from "../logs/log.ts";
import { RepeatedLog } from "../logs/repeated_log.ts";
import type { RecordStore } from "./record_store.ts";

/** Options of {@link Registrar.register}. */
export interface RegistrarOptions {
  /** How the registry was named, for people. */
  readonly name: string;
  readonly facts: () => CellFacts;
  /** Told once if another process has taken the id. */
  readonly onLost: (problem: string) => void;
  /** Milliseconds between two writings; default: {@link CELL_BEAT}. */
  readonly beatMs?: number;
}

/** Beats for which a record that was there before must stand still before its name is taken. */
const STANDSTILL_BEATS = 2.5;

/** Keeps a record. */
export class Registrar implements Registration {
  readonly #store: RecordStore;
  readonly #options: RegistrarOptions;
  readonly #own: Pick<CellRecord, "incarnation" | "instance">;
  readonly #failures = new RepeatedLog();
  #beat = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The writing in progress. */
  #writing: Promise<void> = Promise.resolve();
  #pending = false;
  #ended = false;

  private constructor(store: RecordStore, options: RegistrarOptions, own: Pick<CellRecord, "incarnation" | "instance">) {
    this.#store = store;
    this.#options = options;
    this.#own = own;
  }

  /** Takes the name and writes the first record. @throws {LatentmeshError} `invalid_config` if a cell that lives has it, `capacity` if nothing can be written */
  static async register(store: RecordStore, options: RegistrarOptions): Promise<Registrar> {
    const { id } = options.facts();
    const { name, beatMs = CELL_BEAT } = options;
    const before = await recordOf(store, id, name);
    if (before !== null) await expectStandstill(store, before, { name, waitMs: STANDSTILL_BEATS * beatMs });
    const own = { incarnation: (before?.incarnation ?? 0) + 1, instance: crypto.randomUUID() };
    const registrar = new Registrar(store, options, own);
    try {
      await registrar.#write();
    } catch (cause) {
      throw new LatentmeshError("capacity", `Cannot register at ${name}: ${messageOf(cause)}`, { cause });
    }
    registrar.#schedule();
    return registrar;
  }

  refresh(): void {
    if (this.#pending || this.#ended) return;
    this.#pending = true;
    this.#writing = this.#writing.then(async () => {
      this.#pending = false;
      await this.#tryBeat();
    });
  }

  async close(): Promise<void> {
    // What was said last, such as that the cell ends, is written still.
    await this.#writing;
    const registered = !this.#ended;
    this.#ended = true;
    clearTimeout(this.#timer);
    if (!registered) return;
    try {
      const { id } = this.#options.facts();
      const now = await recordOf(this.#store, id, this.#options.name);
      if (now?.instance === this.#own.instance) await this.#store.remove(id);
    } catch (error) {
      // It goes by itself when it changes no more.
      log("warn", `cannot take this cell's record from ${this.#options.name}: ${messageOf(error)}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #schedule(): void {
    if (this.#ended) return;
    this.#timer = setTimeout(() => {
      this.refresh();
      void this.#writing.then(() => this.#schedule());
    }, this.#options.beatMs ?? CELL_BEAT);
  }

  async #tryBeat(): Promise<void> {
    if (this.#ended) return;
    const { name, facts, onLost } = this.#options;
    try {
      const { id } = facts();
      const now = await recordOf(this.#store, id, name);
      if (now === null || !supersedes(now, this.#own)) return await this.#write();
      this.#ended = true;
      onLost(`another process has registered as cell "${id}" at ${name}, with the address ${now.url}; give every cell an id of its own (--cell-id)`);
    } catch (error) {
      this.#failures.say(`cannot write this cell's record to ${name}; it is tried again: ${messageOf(error)}`, 1);
    }
  }

  async #write(): Promise<void> {
    const record = { protocol: REGISTRY_PROTOCOL, ...this.#own, beat: this.#beat++, ...this.#options.facts() };
    await this.#store.write(record.id, writeRecord(record), record.instance);
  }
}

/** What a store says of a cell; null where that is nothing, or nothing that can be read. */
async function recordOf(store: RecordStore, id: string, name: string): Promise<CellRecord | null> {
  const text = await store.read(id);
  if (text === null) return null;
  const read = readRecord(text);
  if ("record" in read) return read.record;
  throw new LatentmeshError("invalid_config", `Cannot use the record of cell "${id}" at ${name}: ${read.problem}`, { param: "cell.id" });
}

/** Waits for a sign of life of whoever has the name. @throws {LatentmeshError} `invalid_config` if there is one */
async function expectStandstill(
  store: RecordStore,
  before: CellRecord,
  { name, waitMs }: { readonly name: string; readonly waitMs: number },
): Promise<void> {
  log("info", `registry the id "${before.id}" was another process's at ${name}; waiting ${(waitMs / 1000).toFixed(1)} s for a sign of life`);
  await new Promise((resolve) => setTimeout(resolve, waitMs));
  const now = await recordOf(store, before.id, name);
  if (now === null || (now.instance === before.instance && now.beat === before.beat)) return;
  throw new LatentmeshError(
    "invalid_config",
    `Cannot register as cell "${before.id}" at ${name}: a cell that lives has this id, with the address ${now.url}; choose another one (--cell-id)`,
    { param: "cell.id" },
  );
}
