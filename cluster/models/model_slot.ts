/**
 * One model of several: what it is at, who uses it and who waits for it.
 *
 * @module
 */
import { asLatentmeshError, type LatentmeshError, messageOf } from "../../core/errors.ts";
import type { LoadProgress } from "../../core/wire/load_times.ts";
import { logRecord } from "../logs/log.ts";

/** A loaded model. */
export interface Pooled {
  /** Rejects when it can serve no longer. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

/** One model, as it is configured. */
export interface PoolModel {
  readonly name: string;
  /** Seconds without use after which it is unloaded. */
  readonly idleSeconds: number;
  /** Whether it is never unloaded. */
  readonly keepLoaded: boolean;
}

/** What a model is at. */
export interface ModelState<T> {
  readonly name: string;
  readonly state: "unloaded" | "loading" | "loaded";
  /** The loaded model; null: it is not. */
  readonly value: T | null;
  /** How far loading has come; null: it is not being loaded. */
  readonly progress: LoadProgress | null;
  /** Why it could not be loaded the last time; null: it could, or was never tried. */
  readonly error: LatentmeshError | null;
}

/** Use of a model, until it is given back. */
export interface Lease<T> {
  readonly value: T;
  release(): void;
}

/** Who is told. */
export interface SlotEvents<T extends Pooled> {
  onChange(): void;
  /** It has not been used for as long as it may. */
  onIdle(slot: ModelSlot<T>): void;
  /** It can serve no longer, and what it takes is given back. @param closed resolves when that is done */
  onLost(closed: Promise<void>): void;
}

/** A model that comes and goes. */
export class ModelSlot<T extends Pooled> {
  readonly model: PoolModel;
  readonly #events: SlotEvents<T>;
  #value: T | null = null;
  /** Being unloaded: its memory is not free yet. */
  #closing = false;
  #bringing: Promise<void> | null = null;
  #progress: LoadProgress | null = null;
  #error: LatentmeshError | null = null;
  #users = 0;
  #waiting = 0;
  #lastUsed = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(model: PoolModel, events: SlotEvents<T>) {
    this.model = model;
    this.#events = events;
  }

  get status(): ModelState<T> {
    const state = this.#value !== null ? "loaded" : this.#bringing !== null ? "loading" : "unloaded";
    return { name: this.model.name, state, value: this.#value, progress: this.#progress, error: this.#error };
  }

  get loaded(): boolean {
    return this.#value !== null;
  }

  /** Whether it takes memory: it is loaded, or not unloaded completely. */
  get occupies(): boolean {
    return this.loaded || this.#closing;
  }

  /** Whether somebody waits for it. */
  get awaited(): boolean {
    return this.#waiting > 0;
  }

  /** Whether it is loaded, and nobody uses it or waits for it. */
  get idle(): boolean {
    return this.#value !== null && this.#users === 0 && this.#waiting === 0;
  }

  /** Whether that has been so for as long as it may. */
  get overdue(): boolean {
    return performance.now() - this.#lastUsed >= this.model.idleSeconds * 1000 - EARLY;
  }

  /** When it was last used, in milliseconds. */
  get lastUsed(): number {
    return this.#lastUsed;
  }

  /** Begins a use; null: it is not loaded. */
  lease(): Lease<T> | null {
    const value = this.#value;
    if (value === null) return null;
    this.#users++;
    clearTimeout(this.#timer);
    let released = false;
    return {
      value,
      release: () => {
        if (released) return;
        released = true;
        this.#users--;
        this.#rest();
      },
    };
  }

  /** Counts somebody who waits for it, until that is disposed of. */
  wait(): Disposable {
    this.#waiting++;
    return {
      [Symbol.dispose]: () => {
        this.#waiting--;
        this.#rest();
      },
    };
  }

  /** Does what brings it up, once at a time: whoever asks meanwhile gets the same. */
  bringUp(work: (onProgress: (progress: LoadProgress) => void) => Promise<void>): Promise<void> {
    if (this.#value !== null) return Promise.resolve();
    return this.#bringing ??= this.#bring(work).finally(() => {
      this.#bringing = null;
      this.#progress = null;
    });
  }

  /** Takes what was loaded. @throws {LatentmeshError} */
  async load(load: () => Promise<T>): Promise<void> {
    const began = performance.now();
    const model = this.model.name;
    logRecord("info", "models  loading {model}", { model });
    const value = await load();
    this.#value = value;
    value.failed.catch((error) => this.#lost(value, error));
    logRecord("info", "models  {model} is loaded after {seconds} s", { model, seconds: Math.round((performance.now() - began) / 100) / 10 });
    this.#lastUsed = performance.now();
    // Whoever asked for it may have gone.
    this.#rest();
  }

  /** Unloads it; nobody may use it. What it leaves behind when it cannot be closed, nobody can help: that is said, and troubles no other. */
  async unload(): Promise<void> {
    const value = this.#value;
    this.#value = null;
    clearTimeout(this.#timer);
    if (value === null) return;
    this.#closing = true;
    try {
      await value.close();
    } catch (error) {
      logRecord("error", "models  {model} was not unloaded in order: {problem}", { model: this.model.name, problem: messageOf(error) });
    }
    this.#closing = false;
    this.#events.onChange();
  }

  /** The same, whoever uses it. */
  async close(): Promise<void> {
    await this.#bringing?.catch(() => {});
    await this.unload();
  }

  async #bring(work: (onProgress: (progress: LoadProgress) => void) => Promise<void>): Promise<void> {
    try {
      await work((progress) => this.#progress = progress);
      this.#error = null;
    } catch (thrown) {
      const error = asLatentmeshError(thrown);
      // That nobody wants it any more says nothing of it, nor that the server stops.
      if (error.code !== "cancelled" && error.cause !== STOPPING) {
        this.#error = error;
        logRecord("error", "models  {model} cannot be loaded: {problem}", { model: this.model.name, problem: error.message });
      }
      throw error;
    }
  }

  #lost(value: T, error: unknown): void {
    if (this.#value !== value) return;
    const values = { model: this.model.name, problem: asLatentmeshError(error).message };
    logRecord("error", "models  {model} is lost, and is loaded again when it is asked for: {problem}", values);
    this.#events.onLost(this.unload());
  }

  /** Looks whether anybody is left who uses it. */
  #rest(): void {
    const { idle, model: { idleSeconds, keepLoaded } } = this;
    if (idle) {
      this.#lastUsed = performance.now();
      clearTimeout(this.#timer);
      if (!keepLoaded) this.#timer = setTimeout(() => this.#events.onIdle(this), idleSeconds * 1000);
    }
    // It can make room, unless it is kept; or nobody waits for it to be loaded any more.
    if (idle ? !keepLoaded : !this.loaded && !this.awaited) this.#events.onChange();
  }
}

/** Cause of errors that say that the server stops. */
export const STOPPING = Symbol("stopping");

/** Milliseconds by which a timer may come before its time. */
const EARLY = 5;
