/**
 * The HTTP surface of a front: the APIs of the cells behind it, and what can be told of all of them.
 *
 * @module
 */
import manifest from "../../deno.json" with { type: "json" };
import { type Context, Hono } from "hono";
import { except } from "hono/combine";
import type { CellRecord } from "../../core/registry/cell_record.ts";
import { HttpError, noSuchModel, toHttpError } from "../api/errors.ts";
import { anthropicError, isAnthropic } from "../http/anthropic/shapes.ts";
import { type BodyLimits, HeldBody } from "../http/body.ts";
import { Budget } from "../http/budget.ts";
import {
  allowOrigins,
  checkOrigin,
  type ClientLimits,
  limitClients,
  nameRequest,
  type OriginRules,
  RateLimiter,
  requireKey,
} from "../http/guards.ts";
import { modelList, modelObject } from "../http/model_objects.ts";
import { recordRequests, type RequestRecord } from "../http/request_log.ts";
import type { AppEnv } from "../http/server_context.ts";
import type { RelayedRequest } from "./cell_client.ts";
import type { RelayContext } from "./first_answer.ts";
import { GENERATING_PATHS, readFrontRequest } from "./front_request.ts";
import { relay } from "./relay.ts";

/** Options of {@link createFrontApp}. */
export interface FrontAppOptions {
  readonly context: RelayContext;
  /** Milliseconds since the registry was last read. */
  readonly registryAge: () => number;
  /** How the registry was named. */
  readonly registry: string;
  /** Aborted when the front begins to stop. */
  readonly drain: AbortSignal;
  /** Aborted when what runs must end. */
  readonly shutdown: AbortSignal;
  readonly apiKeys?: readonly string[];
  readonly origins?: OriginRules;
  readonly limits?: ClientLimits;
  readonly onAnswered?: (record: RequestRecord) => void;
}

/** Everybody may ask about health. */
const OPEN_PATHS = ["/healthz", "/health", "/readyz", "/version"];

/** Bodies: at least so many bytes, and so many for each token of the longest context; as cells have it. */
const LEAST_BODY_BYTES = 4 << 20;
const BODY_BYTES_PER_TOKEN = 32;
/** Bodies are held as long as their answers run, since another cell may need them: so many bytes in all, and of one client. */
const HELD_BYTES = 1 << 30;

/** What other paths are relayed, whole. */
const OTHER_PATHS = ["/v1/messages/count_tokens", "/v1/embeddings", "/tokenize", "/detokenize"];

/** Name by which clients say that a stream may go on at any cell. */
const FAILOVER_HEADER = "x-latentmesh-failover";

/** Endpoints by method and path. */
export function createFrontApp(options: FrontAppOptions): Hono<AppEnv> {
  const { context, drain, apiKeys = [], origins = { hosts: undefined, origins: [] }, limits, onAnswered } = options;
  const { cells, metrics } = context;
  const budget = new Budget({ total: HELD_BYTES, perClient: apiKeys.length > 1 ? HELD_BYTES / 2 : HELD_BYTES });
  const app = new Hono<AppEnv>();
  app.use(nameRequest);
  app.use(keepRequestId);
  app.use(recordRequests((record) => {
    if (record.method === "POST") metrics.answered(knownPath(record.path), record.status);
    onAnswered?.(record);
  }));
  app.use(checkOrigin(origins));
  if (origins.origins.length > 0) app.use(allowOrigins(origins.origins));
  if (apiKeys.length > 0) app.use(except(OPEN_PATHS, requireKey(apiKeys)));
  if (limits !== undefined) app.use("/v1/*", limitClients(new RateLimiter(limits)));
  for (const path of [...GENERATING_PATHS, ...OTHER_PATHS]) app.post(path, (c) => relayed(c, options, { budget, maxBytes: mostBytes(cells.all) }));
  const listed = () => cells.models.map(({ model, created, maxContext }) => ({ id: model, created, maxContext }));
  app.get("/v1/models", (c) => c.json(modelList(listed(), isAnthropic(c))));
  app.get("/v1/models/:id{.+}", (c) => {
    const id = c.req.param("id");
    const model = listed().find((one) => one.id === id);
    if (model === undefined) throw noSuchModel(id, "GET /v1/models lists those that are served");
    return c.json(modelObject(model, isAnthropic(c)));
  });
  for (const path of ["/healthz", "/health"]) app.get(path, (c) => c.json({ status: "ok" }));
  app.get("/version", (c) => c.json({ version: manifest.version }));
  app.get("/readyz", (c) => {
    if (drain.aborted) return c.json({ status: "not ready" }, 503);
    return cells.ready ? c.json({ status: "ready" }) : c.json({ status: "no cell is ready" }, 503);
  });
  app.get("/cluster", (c) => c.json(describe(options)));
  app.get("/metrics", async (c) => {
    const { contentType, text } = await metrics.expose(cells, options.registryAge());
    return c.body(text, 200, { "content-type": contentType });
  });
  app.notFound((c) => errorResponse(c, new HttpError(404, `There is no ${c.req.method} ${c.req.path} here`, { code: "not_found" })));
  app.onError((error, c) => errorResponse(c, toHttpError(error)));
  return app;
}

/** Names that clients give their requests are kept, so that they can be found again. */
async function keepRequestId(c: Context<AppEnv>, next: () => Promise<void>): Promise<void> {
  const given = c.req.header("x-request-id");
  if (given !== undefined && /^[\w.:-]{1,128}$/.test(given)) c.set("requestId", given);
  await next();
}

async function relayed(c: Context<AppEnv>, { context, shutdown }: FrontAppOptions, bodies: BodyLimits): Promise<Response> {
  const began = performance.now();
  const client = c.get("client");
  const held = await HeldBody.read(c.req.raw, client, bodies);
  const gone = new AbortController();
  try {
    const { path } = c.req;
    const understood = readFrontRequest(path, held.bytes, client);
    const request: RelayedRequest = {
      path,
      method: "POST",
      body: held.bytes,
      headers: c.req.raw.headers,
      client,
      requestId: c.get("requestId"),
      name: crypto.randomUUID(),
      created: Math.floor(Date.now() / 1000),
    };
    const signal = AbortSignal.any([c.req.raw.signal, gone.signal, shutdown]);
    context.metrics.prepared((performance.now() - began) / 1000);
    const response = await relay(context, { understood, request, anyCell: c.req.header(FAILOVER_HEADER)?.toLowerCase() === "any", signal });
    return whenRead(response, held, gone);
  } catch (error) {
    held[Symbol.dispose]();
    throw error;
  }
}

/** The same response, which gives the request's body back when it has been read or left. */
function whenRead(response: Response, held: HeldBody, gone: AbortController): Response {
  const reader = response.body?.getReader();
  if (reader === undefined) {
    held[Symbol.dispose]();
    return response;
  }
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read().catch((error) => {
        held[Symbol.dispose]();
        throw error;
      });
      if (!done) return controller.enqueue(value);
      held[Symbol.dispose]();
      controller.close();
    },
    async cancel(reason) {
      held[Symbol.dispose]();
      gone.abort();
      await reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
  return new Response(body, response);
}

function mostBytes(cells: readonly CellRecord[]): number {
  return Math.max(LEAST_BODY_BYTES, ...cells.map(({ maxContext }) => BODY_BYTES_PER_TOKEN * maxContext));
}

/** Of a path that clients made up, no label. */
function knownPath(path: string): string {
  return [...GENERATING_PATHS, ...OTHER_PATHS].includes(path) ? path : "other";
}

/** What there is to say about a front and all its cells. */
function describe({ context: { cells, attempts }, registryAge, registry, drain }: FrontAppOptions): object {
  return {
    front: { registry, registryAgeMs: Math.round(registryAge()), ready: cells.ready && !drain.aborted, requestsInFlight: attempts.size },
    cells: cells.all.map(({ protocol: _, ...cell }) => ({ ...cell, requestsOfThisFront: cells.running(cell.id) })),
  };
}

function errorResponse(c: Context<AppEnv>, error: HttpError): Response {
  if (error.retryAfter !== undefined) c.header("retry-after", String(error.retryAfter));
  return c.json(isAnthropic(c) ? anthropicError(error, c.get("requestId")) : error.body, error.status as 400);
}
