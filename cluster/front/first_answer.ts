/**
 * Asks cells for the answer to one request: the next one, where the first cannot have it.
 *
 * @module
 */
import type { CellRecord } from "../../core/registry/cell_record.ts";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { HttpError, toHttpError } from "../api/errors.ts";
import { log } from "../logs/log.ts";
import type { RepeatedLog } from "../logs/repeated_log.ts";
import { beginOutgoing, inTrace, type TraceContext } from "../observe/spans.ts";
import { ERROR_HEADER } from "../http/relay/relayed_request.ts";
import { answeredHeaders, type CellClient, CellUnreachable, type RelayedRequest } from "./cell_client.ts";
import type { FrontCells, Route } from "./front_cells.ts";
import { isLoss, mayGoElsewhere } from "./front_errors.ts";
import type { FrontMetrics } from "./front_metrics.ts";
import type { FrontRequest } from "./front_request.ts";
import type { LiveAttempts } from "./live_attempts.ts";
import type { Losses } from "./losses.ts";
import type { RequestReader } from "./request_reader.ts";
import { wholeOf } from "./whole_answer.ts";

/** What relaying needs. */
export interface RelayContext {
  readonly cells: FrontCells;
  readonly client: CellClient;
  readonly metrics: FrontMetrics;
  readonly attempts: LiveAttempts;
  readonly reader: RequestReader;
  /** Of cells that refuse the front: each request would say so. */
  readonly refused: RepeatedLog;
}

/** A request that is relayed. */
export interface RelayOptions {
  /** What is understood of it. */
  readonly understood: FrontRequest;
  readonly request: RelayedRequest;
  /** Whether a stream may go on at a cell that computes otherwise, with other words than it would have had. */
  readonly anyCell: boolean;
  /** Aborted when the client goes away, or the front ends. */
  readonly signal: AbortSignal;
  readonly losses: Losses;
  /** What spans of what is asked of cells belong to. */
  readonly trace: TraceContext;
}

/** Cells that are asked for one answer. */
const MOST_ATTEMPTS = 6;

/** An answer's head, and where it came from. */
export interface Attempt {
  readonly cell: CellRecord;
  readonly response: Response;
  /** To be called whenever something comes. */
  readonly heard: () => void;
  /** To be called when nothing more is wanted: what has not been read is cancelled. @param problem why, if not since all has come; the first call counts */
  readonly end: (problem?: string) => void;
}

/** The first answer that is one; or the last refusal, where every cell that could be asked has refused. */
export type FirstAnswer = { readonly attempt: Attempt } | { readonly refusal: Response };

/** What of a relayed request asking cells takes. */
type Asking = Pick<RelayOptions, "understood" | "request" | "signal" | "losses" | "trace">;

/**
 * Asks one cell after the other for an answer.
 *
 * @param wanted.tried cells that are not asked; those that were are added
 * @throws {HttpError} if there is none to ask, or the request has lost too many
 */
export async function firstAnswer(
  context: RelayContext,
  options: Asking,
  { tried, accepts }: { readonly tried: Set<string>; readonly accepts?: (cell: CellRecord) => boolean },
): Promise<FirstAnswer> {
  const { cells, metrics } = context;
  let refusal: Response | HttpError | null = null;
  for (let attempts = 0; attempts < MOST_ATTEMPTS; attempts++) {
    const began = performance.now();
    const route = cells.choose(options.understood, { tried, accepts });
    metrics.routed(route?.reason ?? "none", (performance.now() - began) / 1000);
    if (route === null) break;
    throwIfLeft(options.signal);
    tried.add(route.cell.id);
    const attempt = begin(context, options, route);
    try {
      const { response, elsewhere } = await considered(route.cell, await attempt.asked, attempt.heard);
      const { heard, end } = attempt;
      heard();
      if (elsewhere === null) return { attempt: { cell: route.cell, response, heard, end } };
      metrics.cellFailed(route.cell.id, elsewhere);
      if (elsewhere === "unauthorized") {
        context.refused.say(`cell "${route.cell.id}" refuses this front's key; give it the cell's front key (--cell-key)`);
      }
      if (isLoss(elsewhere)) options.losses.count(new Error(`cell "${route.cell.id}": ${elsewhere}`));
      refusal = response;
      attempt.end(elsewhere);
    } catch (error) {
      attempt.end(messageOf(error));
      throwIfLeft(options.signal);
      if (!(error instanceof CellUnreachable)) throw error;
      log("warn", `${error.message}; it gets no requests until it is heard of again (${options.request.requestId})`);
      metrics.cellFailed(route.cell.id, "unreachable");
      cells.putAside(route.cell);
      if (error.begun) options.losses.count(error);
      refusal = new HttpError(502, `Cell "${route.cell.id}" could not be reached`, { code: "cell_lost" });
    }
  }
  if (refusal instanceof HttpError) throw refusal;
  if (refusal !== null) return { refusal };
  throw new HttpError(503, "No cell takes this request now: those that could have are gone, or have failed", { code: "no_cell", retryAfter: 1 });
}

/** Asks a cell. */
function begin(
  { cells, client, attempts }: RelayContext,
  { understood, request, signal, trace }: Asking,
  { cell, reason }: Route,
): Pick<Attempt, "heard" | "end"> & { readonly asked: Promise<Response> } {
  const ended = cells.begin(cell, understood.prefixes);
  const { abort, heard, leave } = attempts.begin(cell);
  const span = beginOutgoing(`POST ${request.path}`, { "latentmesh.cell": cell.id, "latentmesh.routed": reason }, trace);
  const stop = () => abort.abort(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  let isOver = false;
  const end = (problem: string | null = null) => {
    if (!isOver) span.end(problem);
    isOver = true;
    signal.removeEventListener("abort", stop);
    leave();
    ended();
    abort.abort();
  };
  const spilled = reason === "spilled" ? understood.key : undefined;
  const asked = inTrace(span.inside, () => client.ask(cell, request, { signal: abort.signal, spilled, traced: span.recorded }));
  return { heard, end, asked };
}

/** Statuses of answers that another cell may not give. */
const CONSIDERED: ReadonlySet<number> = new Set([401, 403, 404, 409, 429, 502, 503, 504]);

/** Bytes of a refusal at most. */
const MOST_REFUSED = 1 << 20;

/** An answer, and why another cell should be asked instead; null: it is for the client. @throws {CellUnreachable} if it breaks off, or is none that cells give */
async function considered(
  cell: CellRecord,
  response: Response,
  heard: () => void,
): Promise<{ readonly response: Response; readonly elsewhere: string | null }> {
  const { status } = response;
  if (status < 400 && !isAnswer(response)) {
    const type = response.headers.get("content-type") ?? "nothing";
    throw new CellUnreachable(cell, new Error(`${status} with ${type} is no answer of a cell: something else is at its address`));
  }
  if (!CONSIDERED.has(status)) return { response, elsewhere: null };
  const body = await wholeOf(response, { heard, most: MOST_REFUSED }).catch((error) => {
    throw new CellUnreachable(cell, error);
  });
  const code = response.headers.get(ERROR_HEADER) ?? codeOf(body);
  if (status === 401 || code === "not_a_front") return { response: frontRefused(), elsewhere: "unauthorized" };
  const again = new Response(body, { status, headers: answeredHeaders(response) });
  // Items are kept by the cell that has answered with them.
  const may = code === "item_not_found" || code === "loading" || code === "not_equal" || mayGoElsewhere(code) ||
    (code === null && (status >= 502 || !isJson(response)));
  return { response: again, elsewhere: may ? code ?? String(status) : null };
}

function frontRefused(): Response {
  const problem = "The cells refuse this front; whoever runs it must give it their front key";
  const { status, body } = new HttpError(502, problem, { code: "front_refused" });
  return Response.json(body, { status });
}

function codeOf(body: Uint8Array): string | null {
  try {
    const { error } = JSON.parse(new TextDecoder().decode(body));
    return typeof error?.code === "string" ? error.code : null;
  } catch {
    return null;
  }
}

/** Whether it is what cells answer with where nothing is wrong; a page of a proxy, or a redirection, is not. */
function isAnswer(response: Response): boolean {
  return response.status === 200 && response.body !== null && (isJson(response) || isEventStream(response));
}

function isJson({ headers }: Response): boolean {
  return headers.get("content-type")?.startsWith("application/json") ?? false;
}

/** Whether an answer comes piece by piece. */
export function isEventStream({ headers }: Response): boolean {
  return headers.get("content-type")?.startsWith("text/event-stream") ?? false;
}

/** @throws {HttpError} the signal's reason if nobody waits any more */
export function throwIfLeft({ aborted, reason }: AbortSignal): void {
  if (!aborted) return;
  throw reason instanceof LatentmeshError ? toHttpError(reason) : new HttpError(499, "The request was cancelled", { code: "cancelled" });
}
