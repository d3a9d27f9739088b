/**
 * Relays one request to cells: to the next one where the first cannot have it, and, for a stream, to an equal one where the first is lost.
 *
 * @module
 */
import { answeredHeaders } from "./cell_client.ts";
import { FailoverStream } from "./failover_stream.ts";
import { firstAnswer, isEventStream, lost, MOST_LOSSES, type RelayContext, type RelayOptions, throwIfLeft } from "./first_answer.ts";

/** Relays. @throws {HttpError} if no cell can have it */
export async function relay(context: RelayContext, options: RelayOptions): Promise<Response> {
  const tried = new Set<string>();
  for (let losses = 1;; losses++) {
    const first = await firstAnswer(context, options, { tried });
    if ("refusal" in first) return first.refusal;
    const { attempt } = first;
    const { response, cell, end } = attempt;
    const head = { status: response.status, headers: answeredHeaders(response) };
    if (isEventStream(response)) return new Response(FailoverStream.open(context, options, attempt), head);
    try {
      // An answer that breaks off has not been given: it comes whole, or from somewhere else.
      return new Response(await response.arrayBuffer(), head);
    } catch (error) {
      throwIfLeft(options.signal);
      context.metrics.cellFailed(cell.id, "broken");
      context.cells.putAside(cell);
      if (losses === MOST_LOSSES) throw lost(losses, error);
    } finally {
      end();
    }
  }
}
