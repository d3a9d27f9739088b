/**
 * OpenTelemetry spans that begin in one process and go on in another, by the headers that both know (`traceparent`, https://www.w3.org/TR/trace-context/).
 *
 * @module
 */
import { type Context as TraceContext, context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";

export type { TraceContext };

const GETTER = { get: (headers: Headers, name: string) => headers.get(name) ?? undefined, keys: (headers: Headers) => [...headers.keys()] };

/** Headers that name spans: Deno's `fetch` adds them by itself while it traces, and would not replace those that are there. */
export const TRACE_HEADERS: readonly string[] = ["traceparent", "tracestate", "baggage"];

/** What spans say of themselves. */
export type SpanAttributes = Readonly<Record<string, string | number>>;

/** A span that has begun. */
export interface OpenSpan {
  /** Whether anybody is told of it; where nobody is, it need not be ended. */
  readonly recorded: boolean;
  /** What is begun in it belongs to it. */
  readonly inside: TraceContext;
  set(attributes: SpanAttributes): void;
  /** @param problem null: it went well */
  end(problem: string | null): void;
}

/** Begins a span for a request that has come. @param headers may name the span that it belongs to, unless it is one of this process: an app may ask another */
export function beginIncoming(name: string, headers: Headers, attributes: SpanAttributes): OpenSpan {
  const active = context.active();
  return begin(name, SpanKind.SERVER, attributes, trace.getSpan(active) === undefined ? propagation.extract(active, headers, GETTER) : active);
}

/** Begins a span for a request to another process, which is to be made inside of it. @param inside which span it belongs to */
export function beginOutgoing(name: string, attributes: SpanAttributes, inside: TraceContext): OpenSpan {
  return begin(name, SpanKind.CLIENT, attributes, inside);
}

/** What is traced now, for what is done later. */
export function activeTrace(): TraceContext {
  return context.active();
}

/** Does something inside of a span. */
export function inTrace<T>(inside: TraceContext, work: () => T): T {
  return context.with(inside, work);
}

function begin(name: string, kind: SpanKind, attributes: SpanAttributes, parent: TraceContext): OpenSpan {
  const span = trace.getTracer("latentmesh").startSpan(name, { kind, attributes }, parent);
  const inside = trace.setSpan(parent, span);
  return {
    recorded: span.isRecording(),
    inside,
    set: (attributes) => void span.setAttributes(attributes),
    end: (problem) => {
      if (problem !== null) span.setStatus({ code: SpanStatusCode.ERROR, message: problem });
      span.end();
    },
  };
}
