/**
 * A token engine with an observer: measures every generation where it enters and leaves, whatever computes it.
 *
 * @module
 */
import { SpanStatusCode, type Tracer } from "@opentelemetry/api";
import { context, trace } from "@opentelemetry/api";
import type { TokenEngine, TokenEvent, TokenRequest } from "../../core/engine.ts";
import { EngineAround } from "../../core/engine_around.ts";
import { asLatentmeshError } from "../../core/errors.ts";
import type { ServerMetrics } from "./metrics.ts";

/** Measures an engine's generations. */
export class ObservedEngine extends EngineAround {
  readonly #metrics: ServerMetrics;
  readonly #tracer: Tracer = trace.getTracer("latentmesh");

  constructor(engine: TokenEngine, metrics: ServerMetrics) {
    super(engine);
    this.#metrics = metrics;
  }

  override async generate(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    const attributes = { "gen_ai.operation.name": "generate", "gen_ai.usage.input_tokens": request.prompt.length };
    const span = this.#tracer.startSpan("generate", { attributes });
    const observed = this.#metrics.begin();
    const started = performance.now();
    let [first, last, generated, cached]: [number | null, number, number, number] = [null, 0, 0, 0];
    let reason = "cancelled";
    const see = (event: TokenEvent) => {
      if (event.kind === "prefilled") cached = event.cached;
      if (event.kind === "finish") reason = event.reason;
      if (event.kind === "token") {
        const now = performance.now();
        observed.token(first === null ? null : (now - last) / 1000);
        first ??= now;
        last = now;
        generated++;
      }
      emit(event);
    };
    try {
      // What the engine does belongs to this span.
      await context.with(trace.setSpan(context.active(), span), () => this.inner.generate(request, see));
    } catch (thrown) {
      const error = asLatentmeshError(thrown);
      reason = error.code;
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      throw thrown;
    } finally {
      span.setAttributes({ "gen_ai.usage.output_tokens": generated, "gen_ai.response.finish_reasons": [reason], "latentmesh.cached_tokens": cached });
      span.end();
      observed.end({
        promptTokens: request.prompt.length,
        cachedTokens: cached,
        generatedTokens: generated,
        timeToFirstToken: first === null ? null : (first - started) / 1000,
        seconds: (performance.now() - started) / 1000,
        reason,
      });
    }
  }
}
