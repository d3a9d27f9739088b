/**
 * The models of a server as its HTTP API has them: each with an app of its own, over whatever loads it.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { newStepTimes, type StepTimes } from "../../core/step_times.ts";
import type { LoadProgress } from "../../core/wire/load_times.ts";
import type { SeveralModels } from "../config/several_models.ts";
import type { Settings } from "../config/settings.ts";
import type { AppOptions } from "../http/app.ts";
import { createApp } from "../http/app.ts";
import { type HttpEngine, OpenModel } from "../http/open_model.ts";
import type { ListedModel, ModelUse, ServedModels } from "../http/several_models.ts";
import type { ClusterStatus, SchedulingStatus } from "../observe/cluster_status.ts";
import type { ServerMetrics } from "../observe/metrics.ts";
import type { SpawnText } from "../text/text_process.ts";
import { TextWork } from "../text/text_work.ts";
import { ModelPool } from "./model_pool.ts";
import type { Pooled } from "./model_slot.ts";

/** What computes for one model. */
export interface ModelEngine extends HttpEngine, Pooled {
  readonly weightBytes: number;
}

/** How models are loaded, and what their apps are like. */
export interface ServedModelsOptions {
  readonly metrics: ServerMetrics;
  readonly spawnText: SpawnText;
  /** Of the app of each model: what guards the server has been done before. */
  readonly app: Pick<AppOptions, "drain" | "shutdown" | "apiKeys" | "maxBodyBytes">;
  /** The same settings of a model that is on this host, and can be read. @throws {LatentmeshError} */
  fetch(settings: Settings, onProgress: (progress: LoadProgress) => void): Promise<Settings>;
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

  constructor(engine: ModelEngine, open: OpenModel, options: ServedModelsOptions["app"]) {
    this.engine = engine;
    this.#open = open;
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
    await this.#open.close();
    await this.engine.close();
  }
}

/** The models of one server. */
export class ModelServing implements ServedModels {
  readonly #pool: ModelPool<AnsweringModel>;
  readonly #options: ServedModelsOptions;
  readonly #settings = new Map<string, Settings>();

  constructor({ models, maxLoaded }: SeveralModels<Settings>, options: ServedModelsOptions) {
    this.#options = options;
    for (const { name, settings } of models) this.#settings.set(name, settings);
    this.#pool = new ModelPool({
      models,
      maxLoaded,
      fetch: async (name, onProgress) => {
        this.#settings.set(name, await options.fetch(this.#settings.get(name)!, onProgress));
      },
      fits: (name) => options.fits(this.#settings.get(name)!),
      load: (name, onProgress) => this.#load(this.#settings.get(name)!, name, onProgress),
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

  async describe(): Promise<ClusterStatus> {
    const loaded = this.#pool.states.flatMap(({ name, value }) => value === null ? [] : [{ name, value }]);
    const each = await Promise.all(loaded.map(async ({ name, value }) => ({ name, ...await value.engine.describe() })));
    return {
      summary: each.length === 0
        ? `none of ${this.#settings.size} models is loaded`
        : `${each.length} of ${this.#settings.size} models are loaded: ${each.map(({ name, summary }) => `${name} (${summary})`).join("; ")}`,
      scheduling: summed(each.map(({ scheduling }) => scheduling), NOTHING),
      steps: summed(each.map(({ steps }) => steps), newStepTimes()) satisfies StepTimes,
      blockTokens: BLOCK_TOKENS,
      units: each.flatMap(({ name, units }) => units.map((unit) => ({ ...unit, name: `${name}/${unit.name}` }))),
      incidents: each.flatMap(({ name, incidents }) => incidents.map((incident) => ({ ...incident, unit: `${name}/${incident.unit}` })))
        .sort((a, b) => b.at - a.at),
    };
  }

  /** Unloads all. */
  async close(): Promise<void> {
    await this.#pool.close();
  }

  async #load(settings: Settings, id: string, onProgress: (progress: LoadProgress) => void): Promise<AnsweringModel> {
    const { load, metrics, spawnText, app } = this.#options;
    const text = new TextWork({ spawn: spawnText });
    let engine: ModelEngine | null = null;
    try {
      engine = await load(settings, onProgress);
      return new AnsweringModel(engine, await OpenModel.open(engine, { id, metrics, text }), app);
    } catch (error) {
      await text.close();
      await engine?.close();
      throw error;
    }
  }
}

const NOTHING: SchedulingStatus = {
  promptTokens: 0,
  cachedTokens: 0,
  preemptions: 0,
  replays: 0,
  drafted: [],
  accepted: [],
  active: 0,
  waiting: 0,
  running: 0,
};

/** The sums of what each has under the same names: numbers, and lists of numbers. */
function summed<T extends object>(each: readonly T[], nothing: T): T {
  const sum = structuredClone(nothing) as Record<string, number | number[]>;
  for (const one of each) {
    for (const [key, value] of Object.entries(one as Record<string, number | readonly number[]>)) {
      const before = sum[key];
      if (typeof value === "number") sum[key] = (before as number) + value;
      else value.forEach((part, i) => (before as number[])[i] = ((before as number[])[i] ?? 0) + part);
    }
  }
  return sum as T;
}
