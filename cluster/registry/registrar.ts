/**
 * Keeps one cell's record in a store: takes the name, writes at every beat, and notices if another process takes the name away.
 *
 * @module
 */
import { type CellRecord, readRecord, REGISTRY_PROTOCOL, writeRecord } from "../../core/registry/cell_record.ts";
import { CELL_BEAT, CELL_TTL, supersedes } from "../../core/registry/membership.ts";
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

/** Beats for which a record that was there before must stand still before its name is taken: nobody loses it whom fronts believe to live. */
const STANDSTILL_BEATS = CELL_TTL / CELL_BEAT;
/** Milliseconds for which a store is waited for that does not answer when a cell ends. */
const LEAVING = 2000;

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

  /** Takes the name and writes the first record. @throws {LatentmeshError} `invalid_config` if a cell that lives has it, or nobody could read the record, `capacity` if nothing can be written */
  static async register(store: RecordStore, options: RegistrarOptions): Promise<Registrar> {
    const facts = options.facts();
    const { name, beatMs = CELL_BEAT } = options;
    const instance = crypto.randomUUID();
    const checked = readRecord(writeRecord({ protocol: REGISTRY_PROTOCOL, incarnation: 1, instance, beat: 0, ...facts }));
    if ("problem" in checked) throw new LatentmeshError("invalid_config", `Cannot register at ${name}: ${checked.problem}`, { param: "cell" });
    const before = await attempted(name, () => store.read(facts.id));
    if (before !== null) await expectStandstill(store, before, { id: facts.id, name, beatMs });
    const known = before === null ? null : readRecord(before);
    const incarnation = known !== null && "record" in known ? known.record.incarnation + 1 : 1;
    const registrar = new Registrar(store, options, { incarnation, instance });
    await attempted(name, () => registrar.#write());
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
    let timer: ReturnType<typeof setTimeout> | undefined;
    const given = new Promise<void>((resolve) => timer = setTimeout(resolve, LEAVING));
    await Promise.race([this.#leave(), given]);
    clearTimeout(timer);
  }

  async #leave(): Promise<void> {
    clearTimeout(this.#timer);
    // What was said last, such as that the cell ends, is written still.
    await this.#writing;
    const registered = !this.#ended;
    this.#ended = true;
    clearTimeout(this.#timer);
    if (!registered) return;
    try {
      const { id } = this.#options.facts();
      const text = await this.#store.read(id);
      const now = text === null ? null : readRecord(text);
      if (now !== null && "record" in now && now.record.instance === this.#own.instance) await this.#store.remove(id);
    } catch (error) {
      // It goes by itself when it changes no more.
      log("warn", `cannot take this cell's record from ${this.#options.name}: ${messageOf(error)}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @param taken milliseconds that the beat before took: beats of a busy process come no later for it */
  #schedule(taken = 0): void {
    if (this.#ended) return;
    this.#timer = setTimeout(() => {
      const began = performance.now();
      this.refresh();
      void this.#writing.then(() => this.#schedule(performance.now() - began));
    }, Math.max(0, (this.#options.beatMs ?? CELL_BEAT) - taken));
  }

  async #tryBeat(): Promise<void> {
    if (this.#ended) return;
    const { name, facts } = this.#options;
    try {
      const { id } = facts();
      const text = await this.#store.read(id);
      const now = text === null ? null : readRecord(text);
      if (now === null) return await this.#write();
      if ("record" in now) {
        if (!supersedes(now.record, this.#own)) return await this.#write();
        return this.#lose(`another process has registered as cell "${id}" at ${name}, with the address ${now.record.url}`);
      }
      // Nobody leaves such a record over a newer one but a process that lives.
      if (now.newer) return this.#lose(`a process of a newer release has registered as cell "${id}" at ${name}`);
      this.#failures.say(`this cell's record at ${name} was spoilt, and is written anew: ${now.problem}`);
      await this.#write();
    } catch (error) {
      this.#failures.say(`cannot write this cell's record to ${name}; it is tried again: ${messageOf(error)}`, 1);
    }
  }

  #lose(problem: string): void {
    this.#ended = true;
    this.#options.onLost(`${problem}; give every cell an id of its own (--cell-id)`);
  }

  async #write(): Promise<void> {
    const record = { protocol: REGISTRY_PROTOCOL, ...this.#own, beat: this.#beat++, ...this.#options.facts() };
    await this.#store.write(record.id, writeRecord(record), record.instance);
  }
}

/** @throws {LatentmeshError} `capacity` if a store fails */
async function attempted<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new LatentmeshError("capacity", `Cannot register at ${name}: ${messageOf(cause)}`, { cause });
  }
}

/** Waits for a sign of life of whoever has the name: a record that changes. @throws {LatentmeshError} `invalid_config` if there is one */
async function expectStandstill(
  store: RecordStore,
  before: string,
  { id, name, beatMs }: { readonly id: string; readonly name: string; readonly beatMs: number },
): Promise<void> {
  const seconds = (STANDSTILL_BEATS * beatMs / 1000).toFixed(1);
  log("info", `registry the id "${id}" was another process's at ${name}; waiting ${seconds} s for a sign of life`);
  let now: string | null = before;
  for (let beat = 0; beat < STANDSTILL_BEATS && now === before; beat++) {
    await new Promise((resolve) => setTimeout(resolve, beatMs));
    now = await attempted(name, () => store.read(id));
  }
  if (now === null || now === before) return;
  const read = readRecord(now);
  const where = "record" in read ? `with the address ${read.record.url}` : "of a release that this one does not understand";
  throw new LatentmeshError(
    "invalid_config",
    `Cannot register as cell "${id}" at ${name}: a cell that lives has this id, ${where}; choose another one (--cell-id)`,
    { param: "cell.id" },
  );
}
