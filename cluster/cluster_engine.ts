/**
 * The token engine over a cluster. Requests of one decode group are served one after the other.
 *
 * @module
 */
import type { TokenEngine, TokenEvent, TokenRequest } from "../core/engine.ts";
import { LatentmeshError } from "../core/errors.ts";
import { EventQueue } from "../core/event_queue.ts";
import { checkRequest, runGeneration } from "../core/generation.ts";
import type { ModelSpec } from "../core/model/spec.ts";
import { ClusterSequence, type Route, type StepTimes } from "./cluster_sequence.ts";

/** What the engine needs of the coordinator. */
export interface Routes {
  readonly ready: boolean;
  /** Waits for units that are linked and chooses among them; their load is counted until {@link Routes.release}. @throws {LatentmeshError} */
  acquire(signal: AbortSignal): Promise<Route>;
  release(route: Route): void;
  /** Whether both units of a route are linked now. */
  usable(route: Route): boolean;
  /** Whatever failed on a route in an epoch of its decode group; decides who is to blame and repairs. */
  report(route: Route, error: LatentmeshError, epoch: number): void;
}

/** Options of {@link ClusterTokenEngine}. */
export interface ClusterEngineOptions {
  readonly spec: ModelSpec;
  readonly maxContext: number;
  /** Milliseconds that a decode step may take. */
  readonly stepDeadlineMs: number;
}

/** Errors that say nothing about workers. */
const OF_THE_REQUEST: ReadonlySet<string> = new Set(["invalid_request", "cancelled", "capacity"]);

/** Serves a model on a cluster. */
export class ClusterTokenEngine implements TokenEngine {
  readonly times: StepTimes = { steps: 0, computeMs: 0, exchangeMs: 0, totalMs: 0 };
  readonly #routes: Routes;
  readonly #options: ClusterEngineOptions;
  #closed = false;
  #nextSequence = 1;
  readonly #running = new Set<Promise<void>>();

  constructor(routes: Routes, options: ClusterEngineOptions) {
    this.#routes = routes;
    this.#options = options;
  }

  get maxContext(): number {
    return this.#options.maxContext;
  }

  get ready(): boolean {
    return !this.#closed && this.#routes.ready;
  }

  generate(request: TokenRequest): AsyncIterable<TokenEvent> {
    return new EventQueue<TokenEvent>(request.signal, (signal, emit) => {
      const run = this.#run({ ...request, signal }, emit);
      const settled = run.catch(() => {});
      this.#running.add(settled);
      return run.finally(() => this.#running.delete(settled));
    });
  }

  /** Waits for requests in flight; new ones are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#running);
  }

  #check(signal: AbortSignal): void {
    if (this.#closed) throw new LatentmeshError("capacity", "The engine is shutting down");
    if (signal.aborted) throw new LatentmeshError("cancelled", "The request was cancelled");
  }

  async #run(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    this.#check(request.signal);
    checkRequest(request, this.maxContext);
    let served = false;
    while (!served) {
      const route = await this.#routes.acquire(request.signal);
      try {
        served = await route.decode.turns.take(() => this.#runOn(route, request, emit));
      } finally {
        this.#routes.release(route);
      }
    }
  }

  /** @returns false if the route broke while the request waited for its turn */
  async #runOn(route: Route, request: TokenRequest, emit: (event: TokenEvent) => void): Promise<boolean> {
    const check = () => this.#check(request.signal);
    check();
    if (!this.#routes.usable(route)) return false;
    const { epoch } = route.decode;
    const sequence = new ClusterSequence(route, request, {
      spec: this.#options.spec,
      id: this.#nextSequence++,
      deadlineMs: this.#options.stepDeadlineMs,
      times: this.times,
      check,
    });
    try {
      await runGeneration(request, sequence, this, emit);
      return true;
    } catch (error) {
      if (error instanceof LatentmeshError && !OF_THE_REQUEST.has(error.code)) this.#routes.report(route, error, epoch);
      throw error;
    } finally {
      await sequence.close().catch((error) => this.#routes.report(route, error, epoch));
    }
  }
}
