/**
 * Several models of which some are loaded: each when it is asked for, as long as it is used, and beside the others as far as there is room. It decides which, and knows
 * nothing of how models are loaded. One is brought up at a time, since what memory there is for the next is known only then.
 *
 * @module
 */
import { asLatentmeshError, cancellation, LatentmeshError } from "../../core/errors.ts";
import { orAborted } from "../../core/or_aborted.ts";
import type { LoadProgress } from "../../core/wire/load_times.ts";
import { logRecord } from "../logs/log.ts";
import { type Lease, ModelSlot, type ModelState, type Pooled, type PoolModel, STOPPING } from "./model_slot.ts";

/** What a {@link ModelPool} is given. */
export interface PoolOptions<T extends Pooled> {
  readonly models: readonly PoolModel[];
  /** Most at a time; undefined: as many as there is memory for. */
  readonly maxLoaded?: number;
  /**
   * Does what needs no room, such as a download, and finds out whether it could be loaded if there were room.
   *
   * @param signal aborts when the pool is closed
   * @throws {LatentmeshError}
   */
  fetch(name: string, onProgress: (progress: LoadProgress) => void, signal: AbortSignal): Promise<void>;
  /** Whether there is memory for one, beside all that are loaded now; also true where that cannot be known. */
  fits(name: string): Promise<boolean>;
  /** @throws {LatentmeshError} */
  load(name: string, onProgress: (progress: LoadProgress) => void): Promise<T>;
}

/** The models of a server. */
export class ModelPool<T extends Pooled> {
  readonly #options: PoolOptions<T>;
  readonly #slots: readonly ModelSlot<T>[];
  /** Ends when whoever brings a model up or down has done so. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Resolves when one that waits for models in use to end has its room; null: nobody does. Until then no more is asked of those in use. */
  #wanted: PromiseWithResolvers<void> | null = null;
  #changed = Promise.withResolvers<void>();
  readonly #closing = new AbortController();

  constructor(options: PoolOptions<T>) {
    this.#options = options;
    this.#slots = options.models.map((model) =>
      new ModelSlot<T>(model, {
        onChange: () => this.#change(),
        onIdle: (slot) => this.#retire(slot),
        // Whatever is loaded next, and whoever closes the pool, waits for it.
        onLost: (closed) => void this.#inTurn(() => closed),
      })
    );
  }

  /** All of them, in order. */
  get states(): ModelState<T>[] {
    return this.#slots.map(({ status }) => status);
  }

  /** Loads what is to be there always, one after the other; what cannot be is told of, and tried again when it is asked for. */
  async loadKept(): Promise<void> {
    for (const { model: { name, keepLoaded } } of this.#slots) {
      if (!keepLoaded || this.#closing.signal.aborted) continue;
      const lease = await this.use(name).catch(() => null);
      lease?.release();
    }
  }

  /**
   * A model, loaded if it is not; it stays so until the lease is given back.
   *
   * @throws {LatentmeshError} `not_found`, `cancelled` by the signal, `capacity` when the pool is closed, or why it cannot be loaded
   */
  async use(name: string, signal?: AbortSignal): Promise<Lease<T>> {
    const slot = this.#slots.find(({ model }) => model.name === name);
    if (slot === undefined) throw new LatentmeshError("not_found", `There is no model "${name}" here`);
    while (true) {
      if (this.#closing.signal.aborted) throw closing();
      if (signal?.aborted) throw cancellation(signal);
      // Others wait for room: who is in use is asked for no more, so that they get it.
      if (slot.loaded && this.#wanted !== null && !slot.model.keepLoaded) {
        await orAborted(this.#wanted.promise, signal);
        continue;
      }
      const lease = slot.lease();
      if (lease !== null) return lease;
      using _ = slot.wait();
      try {
        await orAborted(this.#bringUp(slot), signal);
      } catch (error) {
        // Given up because nobody waited, just before somebody did.
        if (error instanceof LatentmeshError && error.cause === UNWANTED) continue;
        throw error;
      }
      // In the same turn as it is there: whoever waits for it comes before whoever would put it away.
      const first = slot.lease();
      if (first !== null) return first;
    }
  }

  /** A model if it is loaded now, see {@link use}; null: it is not, or others wait for its room, and it is not loaded for that. */
  useLoaded(name: string): Lease<T> | null {
    const slot = this.#slots.find(({ model }) => model.name === name);
    return slot === undefined || this.#wanted !== null && !slot.model.keepLoaded ? null : slot.lease();
  }

  /** Unloads all models. Who waits for one is refused; who uses one is to have ended before. */
  async close(): Promise<void> {
    this.#closing.abort(closing());
    this.#change();
    await this.#turn;
    await Promise.all(this.#slots.map((slot) => slot.close()));
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** The same for all who ask for it meanwhile. */
  #bringUp(slot: ModelSlot<T>): Promise<void> {
    return slot.bringUp(async (onProgress) => {
      await this.#options.fetch(slot.model.name, onProgress, this.#closing.signal);
      await this.#inTurn(async () => {
        await this.#makeRoom(slot);
        await this.#load(slot, onProgress);
      });
    });
  }

  async #load(slot: ModelSlot<T>, onProgress: (progress: LoadProgress) => void): Promise<void> {
    const { name } = slot.model;
    while (true) {
      try {
        return await slot.load(() => this.#options.load(name, onProgress));
      } catch (thrown) {
        const error = asLatentmeshError(thrown);
        // What was reckoned was wrong, or could not be: who is idle makes room as long as there is somebody.
        const idle = error.code === "out_of_memory" ? this.#longestIdle(slot) : null;
        if (idle === null) throw error;
        const values = { model: name, other: idle.model.name, problem: error.message };
        logRecord("info", "models  {model} does not fit beside {other}, which makes room: {problem}", values);
        await idle.unload();
      }
    }
  }

  /** Unloads others until there is room for one, waiting for some to be idle if need be. */
  async #makeRoom(slot: ModelSlot<T>): Promise<void> {
    const { maxLoaded = Infinity, fits } = this.#options;
    try {
      while (true) {
        // Whatever changes while it is looked at may be what is waited for below.
        const changed = this.#changed.promise;
        this.#checkWanted(slot);
        const others = this.#slots.filter((other) => other !== slot && other.occupies);
        const full = others.length >= maxLoaded;
        if (!full && (others.length === 0 || await fits(slot.model.name))) return;
        const idle = this.#longestIdle(slot);
        if (idle !== null) {
          logRecord("info", "models  {model} makes room for {other}", { model: idle.model.name, other: slot.model.name });
          await idle.unload();
          continue;
        }
        // Those that are kept never make room: it may fit nevertheless.
        if (others.every(({ model }) => model.keepLoaded)) return;
        if (this.#wanted === null) logRecord("info", "models  {model} waits for one that is in use to become idle", { model: slot.model.name });
        this.#wanted ??= Promise.withResolvers();
        await changed;
      }
    } finally {
      this.#wanted?.resolve();
      this.#wanted = null;
    }
  }

  /** Whoever wanted it may have gone. @throws {LatentmeshError} `cancelled` */
  #checkWanted(slot: ModelSlot<T>): void {
    if (this.#closing.signal.aborted) throw closing();
    if (!slot.awaited) throw new LatentmeshError("cancelled", "Nobody waits for this model any more", { cause: UNWANTED });
  }

  /** Of those that may be unloaded, the one that was used longest ago; null: there is none. */
  #longestIdle(besides: ModelSlot<T>): ModelSlot<T> | null {
    const idle = this.#slots.filter((slot) => slot !== besides && slot.idle && !slot.model.keepLoaded);
    return idle.length === 0 ? null : idle.reduce((oldest, slot) => slot.lastUsed < oldest.lastUsed ? slot : oldest);
  }

  /** One that nobody has asked for in a while. */
  #retire(slot: ModelSlot<T>): void {
    void this.#inTurn(async () => {
      // Somebody may have asked for it meanwhile.
      if (!slot.idle || !slot.overdue) return;
      const { name: model, idleSeconds } = slot.model;
      logRecord("info", "models  {model} is unloaded: nobody has asked for it for {idleSeconds} s", { model, idleSeconds });
      await slot.unload();
    });
  }

  #inTurn<R>(task: () => Promise<R>): Promise<R> {
    const done = this.#turn.then(task);
    this.#turn = done.catch(() => {});
    return done;
  }
}

const UNWANTED = Symbol("unwanted");

function closing(): LatentmeshError {
  return new LatentmeshError("capacity", "The server is stopping", { cause: STOPPING });
}
