/**
 * A stream of events that outlives the cell it comes from: an equal cell is told what its client has seen and which tokens that came from, computes them again as a cell
 * does after a loss of its own, and goes on. The client sees the stream that it would have seen without a failure.
 *
 * @module
 */
import type { CellRecord } from "../../core/registry/cell_record.ts";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { HttpError, toHttpError } from "../api/errors.ts";
import { joined } from "../http/json.ts";
import { log } from "../logs/log.ts";
import { CONTINUE_PATH } from "../http/relay/relayed_request.ts";
import { CellUnreachable, type RelayedRequest } from "./cell_client.ts";
import { EventReader, type RelayedEvent } from "./event_reader.ts";
import { endOf, errorEvent, isLoss, mayGoElsewhere } from "./front_errors.ts";
import { type Attempt, firstAnswer, isEventStream, type RelayContext, type RelayOptions, throwIfLeft } from "./first_answer.ts";
import { GivenUp } from "./losses.ts";
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
  /** Whether nothing more comes: a cell's own words were the last. */
  #over = false;
  /** What went wrong behind what the client is being given. */
  #failure: unknown = null;

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
      while (!this.#over && !this.#progress.ended) {
        const pieces = await this.#next();
        for (const piece of pieces) controller.enqueue(piece);
        if (pieces.length > 0) return;
      }
      this.#attempt.end();
      controller.close();
    } catch (error) {
      this.#attempt.end();
      const { path, requestId } = this.#options.request;
      if (!this.#options.signal.aborted) log("warn", `a stream ended early (${requestId}): ${messageOf(error)}`);
      controller.enqueue(errorEvent(path, toHttpError(error), requestId));
      controller.close();
    }
  }

  /** What comes next and the client has not seen, of whichever cell has it. @throws {HttpError} if nobody goes on */
  async #next(): Promise<Bytes[]> {
    let reason = "broken";
    try {
      const failure = this.#failure;
      this.#failure = null;
      if (failure !== null) throw failure;
      const { done, value } = await this.#reader.read();
      this.#attempt.heard();
      if (!done) return await this.#take(value);
      throw new LatentmeshError("protocol", `the stream ended in the middle of ${this.#events.whole ? "the answer" : "an event"}`);
    } catch (error) {
      if (error instanceof HttpError) throw error;
      throwIfLeft(this.#options.signal);
      if (error instanceof LatentmeshError) reason = error.code;
      this.#context.cells.putAside(this.#attempt.cell);
      await this.#goOn(new CellUnreachable(this.#attempt.cell, error), reason);
      return [];
    }
  }

  /**
   * What the client has not seen of some bytes. What goes wrong behind a part of it is thrown by the next call: the client is given the part.
   *
   * @throws {LatentmeshError} `protocol` if they are no events, {HttpError} if nobody goes on
   */
  async #take(bytes: Bytes): Promise<Bytes[]> {
    const pieces: Bytes[] = [];
    try {
      for (const event of this.#events.push(bytes)) {
        if (mayGoElsewhere(event.notes.failed)) {
          const own = await this.#goOnInstead(event);
          return own === null ? pieces : [...pieces, own];
        }
        if (this.#progress.take(event)) pieces.push(event.bytes);
      }
    } catch (error) {
      if (pieces.length === 0) throw error;
      this.#failure = error;
    }
    return pieces;
  }

  /** Another cell goes on where this one says that it cannot; where none can, its own words are the last. @throws {GivenUp} */
  async #goOnInstead({ bytes, notes }: RelayedEvent): Promise<Bytes | null> {
    const { path, requestId } = this.#options.request;
    try {
      await this.#goOn(new Error(notes.failed), notes.failed!);
      return null;
    } catch (error) {
      if (error instanceof GivenUp) throw error;
      throwIfLeft(this.#options.signal);
      log("info", `a stream ends with its cell's own error, ${notes.failed} (${requestId}): ${messageOf(error)}`);
      this.#over = true;
      return joined([bytes, endOf(path)]);
    }
  }

  /** Has another cell go on. @throws {HttpError} if there is none */
  async #goOn(error: unknown, reason: string): Promise<void> {
    const { metrics, cells } = this.#context;
    const cell = cells.latest(this.#attempt.cell);
    const { drawn } = this.#progress;
    this.#attempt.end(reason);
    metrics.cellFailed(cell.id, reason);
    try {
      // A cell that has no room now, or was too slow, lives.
      if (mayGoElsewhere(reason) && !isLoss(reason)) this.#options.losses.moved(error);
      else this.#options.losses.count(error);
      const accepts = drawn ? (other: CellRecord) => this.#continues(cell, other) : undefined;
      const request = drawn ? await this.#continued(cell) : this.#options.request;
      const first = await firstAnswer(this.#context, { ...this.#options, request }, { tried: new Set([cell.id]), accepts });
      if ("refusal" in first) throw noEqual(cell, cells.all.length);
      if (!isEventStream(first.attempt.response)) {
        first.attempt.end();
        throw noEqual(cell, cells.all.length);
      }
      this.#attempt = first.attempt;
    } catch (problem) {
      throwIfLeft(this.#options.signal);
      metrics.failedOver("none");
      log("info", `no cell goes on for "${cell.id}" (${this.#options.request.requestId}): ${messageOf(problem)}`);
      throw problem instanceof GivenUp || (!drawn && problem instanceof HttpError) ? problem : noEqual(cell, cells.all.length);
    }
    metrics.failedOver("continued");
    log("info", `cell "${this.#attempt.cell.id}" goes on for "${cell.id}" (${this.#options.request.requestId}): ${messageOf(error)}`);
    this.#reader = readerOf(this.#attempt);
    this.#events = new EventReader();
    this.#progress.restart();
  }

  /** Whether a cell may go on where another has stopped. */
  #continues(lost: CellRecord, other: CellRecord): boolean {
    if (lost.fingerprint !== null && other.fingerprint === lost.fingerprint) return true;
    // Tokens mean the same to it, at least.
    return this.#options.anyCell && lost.weights !== null && other.weights === lost.weights;
  }

  /** @param lost whose equal goes on, by what is known of it now */
  async #continued({ fingerprint, weights }: CellRecord): Promise<RelayedRequest> {
    const { request, anyCell } = this.#options;
    const { path, body, client } = request;
    const equal = fingerprint === null || anyCell ? { weights } : { fingerprint };
    const written = await this.#context.reader.writeContinuation({ path, body, resumption: this.#progress.resumption, equal }, client);
    return { ...request, path: CONTINUE_PATH, body: written };
  }
}

function readerOf({ response }: Attempt): ReadableStreamDefaultReader<Bytes> {
  return response.body!.getReader() as ReadableStreamDefaultReader<Bytes>;
}

function noEqual({ id }: CellRecord, cells: number): HttpError {
  const there = cells === 0 ? "no cell is registered" : "no cell that would give the same tokens takes requests now";
  const remedy = "ask again, or with the header x-latentmesh-failover: any, which lets cells go on that compute otherwise";
  return new HttpError(502, `Cell "${id}" was lost in the middle of this answer, and ${there}; ${remedy}`, { code: "no_equal_cell" });
}
