/**
 * The models of a server as its HTTP API has them: each with an app of its own, over whatever loads it.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { newStepTimes, type StepTimes } from "../../core/step_times.ts";
import type { LoadProgress } from "../../core/wire/load_times.ts";
import type { SeveralModels } from "../config/several_models.ts";
import type { Settings } from "../config/settings.ts";
import { type AppOptions, createApp, SEVERAL_BODY_BYTES } from "../http/app.ts";
import { KeptItems } from "../http/kept_items.ts";
import { type HttpEngine, OpenModel } from "../http/open_model.ts";
import { createTextApp } from "../http/text_app.ts";
import type { ListedModel, ModelUse, ServedModels } from "../http/several_models.ts";
import { type ClusterStatus, noCluster, type SchedulingStatus } from "../observe/cluster_status.ts";
import type { ServerMetrics } from "../observe/metrics.ts";
import type { SpawnText } from "../text/text_process.ts";
import { TextWork } from "../text/text_work.ts";
import type { TextModelSource } from "../text/text_model.ts";
import { ModelPool } from "./model_pool.ts";
import type { Pooled } from "./model_slot.ts";
import { ModelTexts, type OpenText } from "./model_texts.ts";

/** What computes for one model. */
export interface ModelEngine extends HttpEngine, Pooled {
  readonly weightBytes: number;
  /** What its scheduler is at. */
  readonly scheduling: SchedulingStatus;
  /** Where the time of its decode steps went. */
  readonly stepTimes: Readonly<StepTimes>;
}

/** What counts up for as long as a server runs, whatever is loaded. */
interface Counted {
  readonly scheduling: SchedulingStatus;
  readonly steps: Readonly<StepTimes>;
}

/** How models are loaded, and what their apps are like. */
export interface ServedModelsOptions {
  readonly metrics: ServerMetrics;
  readonly spawnText: SpawnText;
  /** Of the app of each model: what guards the server has been done before. */
  readonly app: Pick<AppOptions, "drain" | "shutdown" | "apiKeys" | "maxBodyBytes" | "items">;
  /** The same settings of a model that is on this host, and can be read. @param signal aborts when it is wanted no more @throws {LatentmeshError} */
  fetch(settings: Settings, onProgress: (progress: LoadProgress) => void, signal: AbortSignal): Promise<Settings>;
  /** The same of a model as far as its tokenizer and template can be read, wherever it is. @throws {LatentmeshError} */
  describe(settings: Settings): Promise<Settings>;
  /** What its texts are made with. @throws {LatentmeshError} */
  readText(settings: Settings): Promise<Omit<TextModelSource, "id">>;
  /** Whether there is memory for it now. */
  fits(settings: Settings): Promise<boolean>;
  /** @throws {LatentmeshError} */
  load(settings: Settings, onProgress: (progress: LoadProgress) => void): Promise<ModelEngine>;
}

/** A model that answers requests. */
class AnsweringModel implements Pooled {
  readonly engine: ModelEngine;
  readonly app: ReturnType<typeof createApp>;
  readonly #open: OpenModel;
  readonly #onClose: () => void;

  /** @param onClose told before anything is closed */
  constructor(engine: ModelEngine, open: OpenModel, options: ServedModelsOptions["app"], onClose: () => void) {
    this.engine = engine;
    this.#open = open;
    this.#onClose = onClose;
    // Pages of other origins are refused before, and are none here.
    this.app = createApp(() => open.loaded, options);
  }

  get failed(): Promise<never> {
    return this.engine.failed;
  }

  get maxContext(): number {
    return this.engine.served.engine.maxContext;
  }

  async close(): Promise<void> {
    this.#onClose();
    try {
      await this.#open.close();
    } finally {
      await this.engine.close();
    }
  }
}

/** The models of one server. */
export class ModelServing implements ServedModels {
  readonly #pool: ModelPool<AnsweringModel>;
  readonly #texts: ModelTexts;
  readonly #options: ServedModelsOptions;
  /** As they are configured. */
  readonly #given: ReadonlyMap<string, Settings>;
  /** The same once they are on this host. */
  readonly #fetched = new Map<string, Settings>();
  /** What models have counted that are unloaded. */
  #before: Counted = { scheduling: noCluster("").scheduling, steps: newStepTimes() };

  constructor({ models, maxLoaded }: SeveralModels<Settings>, options: ServedModelsOptions) {
    // What one model has answered another may be asked to go on with, and it is there though the first is unloaded.
    this.#options = { ...options, app: { items: new KeptItems(), ...options.app } };
    this.#given = new Map(models.map(({ name, settings }) => [name, settings]));
    this.#texts = new ModelTexts({ open: (name) => this.#openText(name) });
    this.#pool = new ModelPool({
      models,
      maxLoaded,
      fetch: (name, onProgress, signal) => this.#fetch(name, onProgress, signal),
      fits: (name) => options.fits(this.#fetched.get(name)!),
      load: (name, onProgress) => this.#load(this.#fetched.get(name)!, name, onProgress),
    });
  }

  /** Bytes of weights of all that are loaded. */
  get weightBytes(): number {
    return this.#pool.states.reduce((sum, { value }) => sum + (value?.engine.weightBytes ?? 0), 0);
  }

  /** Loads what is to be there always. */
  loadKept(): Promise<void> {
    return this.#pool.loadKept();
  }

  list(): ListedModel[] {
    return this.#pool.states.map(({ name, state, value, progress, error }) => ({
      id: name,
      state,
      error: error?.message ?? null,
      maxContext: value?.maxContext ?? null,
      progress,
    }));
  }

  async use(id: string, signal: AbortSignal): Promise<ModelUse> {
    const { value, release } = await this.#pool.use(id, signal);
    return { fetch: (request) => value.app.fetch(request), release };
  }

  async useText(id: string, signal: AbortSignal): Promise<ModelUse> {
    const lease = this.#pool.useLoaded(id);
    if (lease !== null) return { fetch: (request) => lease.value.app.fetch(request), release: () => lease.release() };
    return await this.#texts.use(id, signal);
  }

  async describe(): Promise<ClusterStatus> {
    const loaded = this.#pool.states.flatMap(({ name, value }) => value === null ? [] : [{ name, value }]);
    const each = await Promise.all(loaded.map(async ({ name, value }) => ({ name, ...await value.engine.describe() })));
    const summary = each.length === 0
      ? `none of ${this.#given.size} models is loaded`
      : `${each.length} of ${this.#given.size} models are loaded: ${each.map(({ name, summary }) => `${name} (${summary})`).join("; ")}`;
    return {
      ...noCluster(summary),
      ...this.#counted,
      units: each.flatMap(({ name, units }) => units.map((unit) => ({ ...unit, name: `${name}/${unit.name}` }))),
      incidents: each.flatMap(({ name, incidents }) => incidents.map((incident) => ({ ...incident, unit: `${name}/${incident.unit}` })))
        .sort((a, b) => b.at - a.at),
    };
  }

  /** Of all models, also of those that are unloaded: what counts up never goes back. */
  get #counted(): Counted {
    return added(this.#before, this.#pool.states.flatMap(({ value }) => value === null ? [] : [countedBy(value.engine)]));
  }

  /** Unloads all. */
  async close(): Promise<void> {
    await Promise.all([this.#pool.close(), this.#texts.close()]);
  }

  /** What was fetched once is not asked for again, unless it has gone from here. */
  async #fetch(name: string, onProgress: (progress: LoadProgress) => void, signal: AbortSignal): Promise<void> {
    const given = this.#given.get(name)!;
    const before = this.#fetched.get(name) ?? given;
    const refresh = async (settings: Settings) => void this.#fetched.set(name, await this.#options.fetch(settings, onProgress, signal));
    try {
      await refresh(before);
    } catch (error) {
      const isGone = error instanceof LatentmeshError && error.code === "not_found";
      if (!isGone || before === given || signal.aborted) throw error;
      await refresh(given);
    }
  }

  /** A process that is given no weights. */
  async #openText(name: string): Promise<OpenText> {
    const { describe, readText, spawnText, app: { apiKeys, maxBodyBytes = SEVERAL_BODY_BYTES } } = this.#options;
    const fetched = this.#fetched.get(name);
    // What was fetched may have gone from here.
    const there = fetched === undefined ? null : await readText(fetched).catch(() => null);
    const source = there ?? await readText(await describe(this.#given.get(name)!));
    const text = await TextWork.start({ id: name, ...source }, { spawn: spawnText, processes: 1 });
    const app = createTextApp(text, { apiKeys, maxBytes: maxBodyBytes });
    return { fetch: (request) => app.fetch(request), close: () => text.close() };
  }

  async #load(settings: Settings, id: string, onProgress: (progress: LoadProgress) => void): Promise<AnsweringModel> {
    const { load, metrics, spawnText, app } = this.#options;
    const text = new TextWork({ spawn: spawnText });
    let engine: ModelEngine | null = null;
    try {
      const loaded = engine = await load(settings, onProgress);
      return new AnsweringModel(loaded, await OpenModel.open(loaded, { id, metrics, text }), app, () => this.#keep(loaded));
    } catch (error) {
      // Why it cannot be used is what is to be known, and not how its remains could be closed.
      await Promise.allSettled([text.close(), engine?.close()]);
      throw error;
    }
  }

  /** Keeps what a model has counted that is loaded no more; what it holds, it holds no longer. */
  #keep(engine: ModelEngine): void {
    const { scheduling, steps } = countedBy(engine);
    this.#before = added(this.#before, [{ scheduling: { ...scheduling, active: 0, waiting: 0, running: 0 }, steps }]);
  }
}

function countedBy({ scheduling, stepTimes }: ModelEngine): Counted {
  return { scheduling, steps: stepTimes };
}

function added(before: Counted, each: readonly Counted[]): Counted {
  return {
    scheduling: summed(each.map(({ scheduling }) => scheduling), before.scheduling),
    steps: summed(each.map(({ steps }) => steps), before.steps),
  };
}

/** What can be added up, name by name. */
type Sums<T> = { readonly [K in keyof T]: number | readonly number[] };

/** The sums of what each has under the same names, and of what there was before. */
function summed<T extends Sums<T>>(each: readonly T[], before: T): T {
  const sum: Record<string, number | readonly number[]> = { ...before };
  for (const one of each) for (const [key, value] of Object.entries<number | readonly number[]>(one)) sum[key] = plus(sum[key], value);
  return sum as T;
}

/** Of lists, the longer goes on as it is. */
function plus(a: number | readonly number[], b: number | readonly number[]): number | readonly number[] {
  if (typeof a === "number" || typeof b === "number") return Number(a) + Number(b);
  return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => (a[i] ?? 0) + (b[i] ?? 0));
}
