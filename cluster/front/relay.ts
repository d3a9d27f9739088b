/**
 * Relays one request to cells: to the next one where the first cannot have it, and, for a stream, to an equal one where the first is lost.
 *
 * @module
 */
import { log } from "../logs/log.ts";
import { joined } from "../http/json.ts";
import { answeredHeaders, CellUnreachable } from "./cell_client.ts";
import { FailoverStream } from "./failover_stream.ts";
import { type Attempt, firstAnswer, isEventStream, type RelayContext, type RelayOptions, throwIfLeft } from "./first_answer.ts";

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
      return new Response(await wholeOf(attempt), head);
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

async function wholeOf({ response: { body }, heard }: Attempt): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of body ?? []) {
    heard();
    pieces.push(piece);
  }
  return joined(pieces);
}
