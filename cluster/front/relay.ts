/**
 * Relays one request to cells: to the next one where the first cannot have it, and, for a stream, to an equal one where the first is lost.
 *
 * @module
 */
import { log } from "../logs/log.ts";
import { answeredHeaders, CellUnreachable } from "./cell_client.ts";
import { FailoverStream } from "./failover_stream.ts";
import { firstAnswer, isEventStream, type RelayContext, type RelayOptions, throwIfLeft } from "./first_answer.ts";
import { wholeOf } from "./whole_answer.ts";

/** Relays. @throws {HttpError} if no cell can have it */
export async function relay(context: RelayContext, options: RelayOptions): Promise<Response> {
  const tried = new Set<string>();
  while (true) {
    const first = await firstAnswer(context, options, { tried });
    if ("refusal" in first) return first.refusal;
    const { attempt } = first;
    const { response, cell, end } = attempt;
    const head = { status: response.status, headers: answeredHeaders(response) };
    if (isEventStream(response)) return new Response(FailoverStream.open(context, options, attempt), head);
    try {
      // An answer that breaks off has not been given: it comes whole, or from somewhere else.
      return new Response(await wholeOf(response, attempt), head);
    } catch (error) {
      throwIfLeft(options.signal);
      const { message } = new CellUnreachable(cell, error);
      end(message);
      log("warn", `an answer broke off, and is asked of another cell (${options.request.requestId}): ${message}`);
      context.metrics.cellFailed(cell.id, "broken");
      context.cells.putAside(cell);
      options.losses.count(error);
    } finally {
      end();
    }
  }
}
