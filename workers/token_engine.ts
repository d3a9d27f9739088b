/**
 * The single-process engine: one model on one device, requests served one after the other.
 *
 * @module
 */
import { LatentmeshError } from "../core/errors.ts";
import type { TokenEngine, TokenEvent, TokenRequest } from "../core/engine.ts";
import { checkRequest, runGeneration } from "../core/generation.ts";
import { newStepTimes, type StepTimes } from "../core/step_times.ts";
import { Turns } from "../core/turns.ts";
import { LocalSequence } from "./local_sequence.ts";
import type { Model } from "./model.ts";

/** Serves one {@link Model}. */
export class LocalTokenEngine implements TokenEngine {
  /** Of its decode steps; telling clients is between them here. */
  readonly times: StepTimes = newStepTimes();
  readonly #model: Model;
  readonly #turns = new Turns();
  #failure: LatentmeshError | null = null;
  #closed = false;

  constructor(model: Model) {
    this.#model = model;
    model.device.lost.then((error) => this.#failure = error);
  }

  get maxContext(): number {
    return this.#model.cache.maxContext;
  }

  get maxPositions(): number {
    return this.#model.spec.maxPositions;
  }

  get ready(): boolean {
    return this.#failure === null && !this.#closed;
  }

  async generate(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    await this.#turns.take(() => this.#run(request, emit));
  }

  /** Waits for requests in flight; new ones are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#turns.idle();
  }

  #check(signal: AbortSignal): void {
    if (this.#failure !== null) throw this.#failure;
    if (this.#closed) throw new LatentmeshError("capacity", "The engine is shutting down");
    if (signal.aborted) throw new LatentmeshError("cancelled", "The request was cancelled");
  }

  async #run(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    const check = () => this.#check(request.signal);
    check();
    checkRequest(request, this);
    const { cache } = this.#model;
    const { times } = this;
    const sequence = cache.open();
    const tell = (event: TokenEvent) => {
      const started = performance.now();
      emit(event);
      times.tellMs += performance.now() - started;
    };
    try {
      await runGeneration(request, new LocalSequence(this.#model, request, sequence, { check, times }), this, tell);
    } finally {
      // What was recorded for a token nobody wants any more must run while its blocks are held.
      if (this.#failure === null) this.#model.device.submit();
      cache.close(sequence);
    }
  }
}
