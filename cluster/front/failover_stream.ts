/**
 * A stream of events that outlives the cell it comes from: an equal cell is told what its client has seen and which tokens that came from, computes them again as a cell
 * does after a loss of its own, and goes on. The client sees the stream that it would have seen without a failure.
 *
 * @module
 */
import type { CellRecord } from "../../core/registry/cell_record.ts";
import { HttpError, toHttpError } from "../api/errors.ts";
import { log } from "../logs/log.ts";
import { messageOf } from "../../core/errors.ts";
import { CONTINUE_PATH } from "../http/relay/relayed_request.ts";
import type { RelayedRequest } from "./cell_client.ts";
import { EventReader, type RelayedEvent } from "./event_reader.ts";
import { errorEvent, mayGoElsewhere } from "./front_errors.ts";
import { type Attempt, firstAnswer, isEventStream, lost, MOST_LOSSES, type RelayContext, type RelayOptions } from "./first_answer.ts";
import { StreamProgress } from "./stream_progress.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** One stream. Nothing is read from a cell before the client has taken what came before. */
export class FailoverStream {
  readonly #context: RelayContext;
  readonly #options: RelayOptions;
  readonly #progress: StreamProgress;
  #attempt: Attempt;
  #reader: ReadableStreamDefaultReader<Bytes>;
  #events = new EventReader();
  #losses = 0;

  private constructor(context: RelayContext, options: RelayOptions, attempt: Attempt) {
    this.#context = context;
    this.#options = options;
    this.#progress = new StreamProgress(options.understood);
    this.#attempt = attempt;
    this.#reader = readerOf(attempt);
  }

  /** @param attempt whose answer is an event stream */
  static open(context: RelayContext, options: RelayOptions, attempt: Attempt): ReadableStream<Bytes> {
    const stream = new FailoverStream(context, options, attempt);
    return new ReadableStream<Bytes>({
      pull: (controller) => stream.#pull(controller),
      cancel: () => stream.#attempt.end(),
    }, { highWaterMark: 0 });
  }

  async #pull(controller: ReadableStreamDefaultController<Bytes>): Promise<void> {
    try {
      while (true) {
        const chunk = await this.#read();
        if (chunk === null) {
          this.#attempt.end();
          return controller.close();
        }
        const pieces = await this.#take(chunk);
        for (const piece of pieces) controller.enqueue(piece);
        if (pieces.length > 0) return;
      }
    } catch (error) {
      this.#attempt.end();
      const { path, requestId } = this.#options.request;
      if (!this.#options.signal.aborted) log("warn", `a stream ended early (${requestId}): ${messageOf(error)}`);
      controller.enqueue(errorEvent(path, toHttpError(error), requestId));
      controller.close();
    }
  }

  /** The next bytes, of whichever cell has them; null at the end. @throws {HttpError} if nobody goes on */
  async #read(): Promise<Bytes | null> {
    while (true) {
      try {
        const { done, value } = await this.#reader.read();
        this.#attempt.heard();
        return done ? null : value;
      } catch (error) {
        if (this.#options.signal.aborted) throw stopped(this.#options.signal);
        this.#context.cells.putAside(this.#attempt.cell);
        await this.#goOn(error, "broken");
      }
    }
  }

  /** What the client has not seen of some bytes. */
  async #take(bytes: Bytes): Promise<Bytes[]> {
    const pieces: Bytes[] = [];
    for (const event of this.#events.push(bytes)) {
      if (mayGoElsewhere(event.notes.failed)) {
        const own = await this.#goOnInstead(event);
        return own === null ? pieces : [...pieces, own];
      }
      if (this.#progress.take(event)) pieces.push(event.bytes);
    }
    return pieces;
  }

  /** Another cell goes on where this one says that it cannot; where none can, its own words are the last. */
  async #goOnInstead(event: RelayedEvent): Promise<Bytes | null> {
    try {
      await this.#goOn(new Error(event.notes.failed), event.notes.failed!);
      return null;
    } catch {
      return event.bytes;
    }
  }

  /** Has another cell go on. @throws {HttpError} if there is none */
  async #goOn(error: unknown, reason: string): Promise<void> {
    const { cell } = this.#attempt;
    const { metrics, cells } = this.#context;
    const progress = this.#progress;
    this.#attempt.end();
    metrics.cellFailed(cell.id, reason);
    if (++this.#losses >= MOST_LOSSES) throw lost(this.#losses, error);
    const accepts = progress.drawn ? (other: CellRecord) => this.#continues(cell, other) : undefined;
    try {
      const request = progress.drawn ? this.#continued() : this.#options.request;
      const first = await firstAnswer(this.#context, { ...this.#options, request }, { tried: new Set([cell.id]), accepts });
      if ("refusal" in first || !isEventStream(first.attempt.response)) throw noEqual(cell, cells.all.length);
      this.#attempt = first.attempt;
    } catch (problem) {
      if (this.#options.signal.aborted) throw stopped(this.#options.signal);
      metrics.failedOver("none");
      throw progress.drawn || !(problem instanceof HttpError) ? noEqual(cell, cells.all.length) : problem;
    }
    metrics.failedOver("continued");
    log("info", `cell "${this.#attempt.cell.id}" goes on for "${cell.id}" (${this.#options.request.requestId}): ${messageOf(error)}`);
    this.#reader = readerOf(this.#attempt);
    this.#events = new EventReader();
    progress.restart();
  }

  /** Whether a cell may go on where another has stopped. */
  #continues(lost: CellRecord, other: CellRecord): boolean {
    if (lost.fingerprint !== null && other.fingerprint === lost.fingerprint) return true;
    // Tokens mean the same to it, at least.
    return this.#options.anyCell && lost.weights !== null && other.weights === lost.weights;
  }

  #continued(): RelayedRequest {
    const { request } = this.#options;
    const body = typeof request.body === "string" ? request.body : new TextDecoder().decode(request.body!);
    return { ...request, path: CONTINUE_PATH, body: JSON.stringify({ path: request.path, body, ...this.#progress.resumption }) };
  }
}

function readerOf({ response }: Attempt): ReadableStreamDefaultReader<Bytes> {
  return response.body!.getReader() as ReadableStreamDefaultReader<Bytes>;
}

function stopped({ reason }: AbortSignal): unknown {
  return reason instanceof Error && reason.name !== "AbortError" ? reason : new HttpError(499, "The request was cancelled", { code: "cancelled" });
}

function noEqual({ id }: CellRecord, cells: number): HttpError {
  const there = cells === 0 ? "no cell is registered" : "no cell that would give the same tokens takes requests now";
  const remedy = "ask again, or with the header x-latentmesh-failover: any, which lets cells go on that compute otherwise";
  return new HttpError(502, `Cell "${id}" was lost in the middle of this answer, and ${there}; ${remedy}`, { code: "no_equal_cell" });
}
