/**
 * The HTTP surface of a front: the APIs of the cells behind it, and what can be told of all of them.
 *
 * @module
 */
import { type Context, Hono } from "hono";
import { except } from "hono/combine";
import type { CellRecord } from "../../core/registry/cell_record.ts";
import { noSuchModel } from "../api/errors.ts";
import { GENERATING_PATHS, TEXT_PATHS } from "../api/paths.ts";
import { isAnthropic } from "../http/anthropic/shapes.ts";
import { bodyBytesFor, type BodyLimits, HeldBody } from "../http/body.ts";
import { Budget } from "../http/budget.ts";
import { addDashboard, DASHBOARD_PATHS } from "../http/dashboard/routes.ts";
import { addErrors, addHealth, HEALTH_PATHS } from "../http/every_server.ts";
import {
  allowOrigins,
  checkOrigin,
  type ClientLimits,
  endingWith,
  limitClients,
  nameRequest,
  type OriginRules,
  RateLimiter,
  REQUEST_ID,
  requireKey,
} from "../http/guards.ts";
import { modelList, modelObject } from "../http/model_objects.ts";
import { recordRequests, type RequestRecord } from "../http/request_log.ts";
import { traceRequests } from "../http/trace_requests.ts";
import type { AppEnv } from "../http/server_context.ts";
import { activeTrace } from "../observe/spans.ts";
import type { RelayedRequest } from "./cell_client.ts";
import type { RelayContext } from "./first_answer.ts";
import { Losses } from "./losses.ts";
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

/** Bodies are held as long as their answers run, since another cell may need them: so many bytes in all, and of one client. */
const HELD_BYTES = 1 << 30;
/** Bytes of one body at most, whatever cells say of their contexts. */
const MOST_BODY_BYTES = 128 << 20;

/** What other paths are relayed, whole. */
const OTHER_PATHS = [...TEXT_PATHS, "/v1/embeddings"];

const FLAGS = { concurrent: "--concurrent", requestsPerMinute: "--requests-per-minute" };

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
  app.use(traceRequests((path) => knownPath(path) !== "other"));
  app.use(recordRequests((record) => {
    if (record.method === "POST") metrics.answered(knownPath(record.path), record.status);
    onAnswered?.(record);
  }));
  app.use(checkOrigin(origins));
  if (origins.origins.length > 0) app.use(allowOrigins(origins.origins));
  if (apiKeys.length > 0) app.use(except([...HEALTH_PATHS, ...DASHBOARD_PATHS], requireKey(apiKeys)));
  if (limits !== undefined) app.use(limitClients(new RateLimiter(limits, { names: FLAGS })));
  for (const path of [...GENERATING_PATHS, ...OTHER_PATHS]) app.post(path, (c) => relayed(c, options, { budget, ...bodyLimit(cells.all) }));
  const listed = () => cells.models.map(({ model, created, maxContext }) => ({ id: model, created, maxContext }));
  app.get("/v1/models", (c) => c.json(modelList(listed(), isAnthropic(c))));
  app.get("/v1/models/:id{.+}", (c) => {
    const id = c.req.param("id");
    const model = listed().find((one) => one.id === id);
    if (model === undefined) throw noSuchModel(id, "GET /v1/models lists those that are served");
    return c.json(modelObject(model, isAnthropic(c)));
  });
  addHealth(app);
  app.get("/readyz", (c) => {
    if (drain.aborted) return c.json({ status: "not ready" }, 503);
    return cells.ready ? c.json({ status: "ready" }) : c.json({ status: "no cell is ready" }, 503);
  });
  app.get("/cluster", (c) => c.json(describe(options)));
  app.get("/metrics", async (c) => {
    const { contentType, text } = await metrics.expose(cells, options.registryAge());
    return c.body(text, 200, { "content-type": contentType });
  });
  addDashboard(app);
  addErrors(app);
  return app;
}

/** Names that clients give their requests are kept, so that they can be found again. */
async function keepRequestId(c: Context<AppEnv>, next: () => Promise<void>): Promise<void> {
  const given = c.req.header("x-request-id");
  if (given !== undefined && REQUEST_ID.test(given)) c.set("requestId", given);
  await next();
}

async function relayed(c: Context<AppEnv>, { context, shutdown }: FrontAppOptions, bodies: BodyLimits): Promise<Response> {
  const began = performance.now();
  const client = c.get("client");
  const held = await HeldBody.read(c.req.raw, client, bodies);
  const gone = new AbortController();
  try {
    const { path } = c.req;
    const understood = await context.reader.read(path, held.bytes, client);
    const request: RelayedRequest = {
      path,
      body: held.bytes,
      headers: c.req.raw.headers,
      client,
      requestId: c.get("requestId"),
      name: crypto.randomUUID(),
      created: Math.floor(Date.now() / 1000),
    };
    const signal = AbortSignal.any([c.req.raw.signal, gone.signal, shutdown]);
    context.metrics.prepared((performance.now() - began) / 1000);
    const anyCell = c.req.header(FAILOVER_HEADER)?.toLowerCase() === "any";
    const response = await relay(context, { understood, request, anyCell, signal, losses: new Losses(), trace: activeTrace() });
    return endingWith(response, (abandoned) => {
      held[Symbol.dispose]();
      if (abandoned) gone.abort();
    });
  } catch (error) {
    held[Symbol.dispose]();
    throw error;
  }
}

function bodyLimit(cells: readonly CellRecord[]): Pick<BodyLimits, "maxBytes" | "remedy"> {
  const maxBytes = Math.min(MOST_BODY_BYTES, Math.max(...[0, ...cells.map(({ maxContext }) => maxContext)].map(bodyBytesFor)));
  return { maxBytes, remedy: "no cell's context takes more" };
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
