/**
 * The phases of a request on the cluster as OpenTelemetry spans, inside of the span that it came with.
 *
 * @module
 */
import { context, trace } from "@opentelemetry/api";
import type { RequestOutcome } from "../serving/running_request.ts";

/** Called when a request arrives. @returns what records its phases when it has ended */
export function tracePhases(): (outcome: RequestOutcome) => void {
  const arrived = context.active();
  return ({ times }) => {
    const tracer = trace.getTracer("latentmesh");
    const span = (name: string, from: number | null, to: number | null) => {
      if (from === null || to === null) return;
      const at = (ms: number) => performance.timeOrigin + ms;
      tracer.startSpan(name, { startTime: at(from) }, arrived).end(at(Math.max(from, to)));
    };
    span("queue", times.arrived, times.prefillStarted ?? times.ended);
    span("prefill", times.prefillStarted, times.prefilled);
    span("handoff", times.prefilled, times.handed);
    span("first decode", times.firstToken, times.secondToken);
    span("decode", times.secondToken, times.lastToken);
  };
}
