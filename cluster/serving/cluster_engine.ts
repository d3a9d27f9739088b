/**
 * The token engine over a cluster.
 *
 * @module
 */
import type { ContextLimits } from "../../core/context_limit.ts";
import type { TokenEngine, TokenEvent, TokenRequest } from "../../core/engine.ts";
import { cancellation, LatentmeshError } from "../../core/errors.ts";
import { checkRequest } from "../../core/generation.ts";
import { Serving, type ServingOptions } from "./serving.ts";
import type { Units } from "../fleet/unit_host.ts";
import type { StepTimes } from "../../core/step_times.ts";

/** Serves a model on a cluster. */
export class ClusterTokenEngine implements TokenEngine {
  readonly serving: Serving;
  readonly maxContext: number;
  readonly maxPositions: number;
  readonly #degraded: () => string | null;
  #failure: LatentmeshError | null = null;
  #closed = false;

  constructor(units: Units & { readonly degraded: string | null }, options: ServingOptions & Required<ContextLimits>) {
    this.serving = new Serving(units, options);
    this.#degraded = () => units.degraded;
    this.maxContext = options.maxContext;
    this.maxPositions = options.maxPositions;
  }

  get ready(): boolean {
    return !this.#closed && this.#failure === null && this.serving.ready;
  }

  get degraded(): string | null {
    return this.#degraded();
  }

  /** Where the time of decode steps went. */
  get times(): Readonly<StepTimes> {
    return this.serving.times;
  }

  async generate(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    if (this.#closed) throw new LatentmeshError("capacity", "The engine is shutting down");
    if (request.signal.aborted) throw cancellation(request.signal);
    checkRequest(request, this);
    await this.serving.serve(request, emit);
  }

  /** Nothing can be served any more: requests in flight end, and new ones are refused. */
  fail(error: LatentmeshError): void {
    this.#failure ??= error;
    this.serving.failAll(error);
  }

  /** Waits for requests in flight; new ones are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.serving.idle();
  }
}
