/**
 * The HTTP surface.
 *
 * @module
 */
import { type Context, Hono } from "hono";
import { except } from "hono/combine";
import type { ServedModel } from "../../core/engine.ts";
import { type ClusterStatus, noCluster } from "../observe/cluster_status.ts";
import type { Grammars } from "../grammar/grammars.ts";
import { addDashboard, DASHBOARD_PATHS } from "./dashboard/routes.ts";
import type { LoadingPace } from "../observe/loading_pace.ts";
import type { ServerMetrics } from "../observe/metrics.ts";
import type { TextService } from "../text/text_work.ts";
import { bodyBytesFor, type BodyLimits, bodyLimits } from "./body.ts";
import { KeptItems } from "./kept_items.ts";
import { recordRequests, type RequestRecord } from "./request_log.ts";
import { traceRequests } from "./trace_requests.ts";
import { handleChat } from "./openai/chat.ts";
import { handleCompletion } from "./openai/completions.ts";
import { HttpError, noSuchModel, quoted } from "../api/errors.ts";
import { allowOrigins, checkOrigin, type ClientLimits, limitClients, nameRequest, type OriginRules, RateLimiter, requireKey } from "./guards.ts";
import { isAnthropic } from "./anthropic/shapes.ts";
import { handleMessages } from "./anthropic/messages.ts";
import { handleResponses } from "./openai/responses.ts";
import { addErrors, addHealth, HEALTH_PATHS } from "./every_server.ts";
import { type ContinueOptions, type FrontRules, handleContinue, recogniseFronts, unlessFront } from "./relay/fronts.ts";
import { RelayedEngine } from "./relay/relayed_engine.ts";
import { CONTINUE_PATH } from "./relay/relayed_request.ts";
import type { AppEnv, ServerContext } from "./server_context.ts";
import { addTextRoutes } from "./text_app.ts";
import { type ListedAs, modelList, modelObject } from "./model_objects.ts";
import { askModels, listedAs, readinessOf, type ServedModels } from "./several_models.ts";

/** A server that can answer. */
export interface LoadedServer {
  readonly model: ServedModel;
  /** Grammars of answers. */
  readonly grammars: Grammars;
  /** Turns requests into tokens. */
  readonly text: TextService;
  /** What the units are at; without it, nothing is said of any. */
  readonly describe?: () => Promise<ClusterStatus>;
}

/** A server that is not ready yet. */
export interface LoadingServer {
  /** What it will serve. */
  readonly loading: string;
  readonly loadedBytes: number;
  /** 0: not known yet. */
  readonly totalBytes: number;
  /** How fast it goes on. */
  readonly pace?: LoadingPace;
}

/** What a server is at. */
export type ServerState = LoadedServer | LoadingServer;

/** Options of {@link createApp}. */
export interface AppOptions {
  /** Aborted when the server begins to stop: readiness goes false, running generations go on. */
  readonly drain: AbortSignal;
  /** Aborted when running generations must end. */
  readonly shutdown: AbortSignal;
  /** What is counted; without it there are no `/metrics`. */
  readonly metrics?: ServerMetrics;
  /** Told of every request that has been answered. */
  readonly onAnswered?: (record: RequestRecord) => void;
  /** Largest request body; default: what the longest prompt takes, and 4 MiB at least. */
  readonly maxBodyBytes?: number;
  /** Keys of which clients must present one; none: everybody may ask. */
  readonly apiKeys?: readonly string[];
  /** Where requests may come from; default: any name, pages of no other origin. */
  readonly origins?: OriginRules;
  /** What one client may do; default: as much as it likes. */
  readonly limits?: ClientLimits;
  /** Several models instead of one: the server's state tells of none. */
  readonly models?: ServedModels;
  /** Items of responses that may be referred to; default: the app's own. */
  readonly items?: KeptItems;
  /** Fronts that requests come through; default: there are none. */
  readonly fronts?: FrontRules | null;
}

/** The same where models are not known before they are loaded: a million tokens. */
export const SEVERAL_BODY_BYTES = 32 << 20;

/** Everybody may ask about health. */
const OPEN_PATHS = [...HEALTH_PATHS, ...DASHBOARD_PATHS];

/** Endpoints by method and path. @param state asked at every request: a server that is loading answers about itself */
export function createApp(state: () => ServerState, options: AppOptions): Hono<AppEnv> {
  const { drain, shutdown, apiKeys = [], origins = { hosts: undefined, origins: [] }, limits, fronts = null } = options;
  let bodies: BodyLimits | null = null;
  const { items = new KeptItems() } = options;
  const loaded = (c?: Context<AppEnv>): ServerContext => {
    const now = state();
    if ("loading" in now) {
      throw new HttpError(503, `The model is still ${now.pace?.downloading ? "being downloaded" : "loading"}`, { code: "loading", retryAfter: 1 });
    }
    bodies ??= bodyLimits(options.maxBodyBytes ?? bodyBytesFor(now.model.engine.maxContext));
    const relay = c?.get("relay");
    const model = relay === undefined ? now.model : { ...now.model, engine: new RelayedEngine(now.model.engine, relay) };
    return { model, grammars: now.grammars, text: now.text, bodies, items, shutdown };
  };
  const app = new Hono<AppEnv>();
  app.use(nameRequest);
  app.use(recogniseFronts(fronts));
  const isRoute = (path: string) => app.routes.some((route) => route.method === "POST" && route.path === path);
  app.use(traceRequests(isRoute));
  if (options.onAnswered !== undefined) app.use(recordRequests(options.onAnswered));
  app.use(checkOrigin(origins));
  if (origins.origins.length > 0) app.use(allowOrigins(origins.origins));
  if (apiKeys.length > 0) app.use(except(OPEN_PATHS, unlessFront(requireKey(apiKeys))));
  if (limits !== undefined) app.use(limitClients(new RateLimiter(limits)));
  const dispatch: ContinueOptions["dispatch"] = (request, resumption) => app.fetch(request, { resumption });
  app.post(CONTINUE_PATH, (c) => handleContinue(c, { rules: fronts, server: loaded, dispatch }));
  app.post("/v1/embeddings", () => {
    throw new HttpError(
      400,
      "This server makes no embeddings: the models that it serves are trained to go on with a text, and not to compare texts",
      {
        code: "unsupported_endpoint",
      },
    );
  });
  const { models } = options;
  if (models !== undefined) {
    const limits = bodyLimits(options.maxBodyBytes ?? SEVERAL_BODY_BYTES);
    // What this app would answer by itself if it had one model, an app of the model's own does.
    app.use(askModels(models, limits, ({ req: { method, path } }) => method === "POST" && isRoute(path)));
  }
  app.post("/v1/chat/completions", (c) => handleChat(c, loaded(c)));
  app.post("/v1/completions", (c) => handleCompletion(c, loaded(c)));
  app.post("/v1/responses", (c) => handleResponses(c, loaded(c)));
  app.post("/v1/messages", (c) => handleMessages(c, loaded(c)));
  addTextRoutes(app, () => loaded());
  const started = Math.floor(Date.now() / 1000);
  const listedModels = (): readonly ListedAs[] => {
    if (models !== undefined) return models.list().map((model) => listedAs(model, started));
    const { id, created, engine: { maxContext } } = loaded().model;
    return [{ id, created, maxContext }];
  };
  app.get("/v1/models", (c) => c.json(modelList(listedModels(), isAnthropic(c))));
  app.get("/v1/models/:id{.+}", (c) => {
    const id = c.req.param("id");
    const listed = listedModels();
    const model = listed.find((one) => one.id === id);
    if (model === undefined) throw noSuchModel(id, `this server serves ${quoted(listed.map(({ id }) => id))}`);
    return c.json(modelObject(model, isAnthropic(c)));
  });
  addHealth(app);
  app.get("/readyz", (c) => {
    if (models !== undefined) {
      if (drain.aborted) return c.json({ status: "not ready" }, 503);
      return c.json({ status: "ready", models: Object.fromEntries(models.list().map((model) => [model.id, readinessOf(model)])) });
    }
    const now = state();
    if ("loading" in now) return c.json({ status: now.pace?.downloading ? "downloading" : "loading", ...progressOf(now) }, 503);
    const { engine } = now.model;
    if (!engine.ready || drain.aborted) return c.json({ status: "not ready" }, 503);
    const degraded = engine.degraded ?? null;
    return c.json(degraded === null ? { status: "ready" } : { status: "degraded", problem: degraded });
  });
  app.get("/cluster", async (c) => c.json(models === undefined ? await describe(state(), options) : await describeModels(models, options)));
  const { metrics } = options;
  if (metrics !== undefined) {
    app.get("/metrics", async (c) => {
      const { contentType, text } = await metrics.expose();
      return c.body(text, 200, { "content-type": contentType });
    });
  }
  addDashboard(app);
  addErrors(app);
  return app;
}

/** What there is to say about a server. */
async function describe(state: ServerState, options: AppOptions): Promise<object> {
  const counted = countedBy(options);
  const { drain } = options;
  if ("loading" in state) {
    return { model: state.loading, maxContext: null, ready: false, loading: progressOf(state), ...counted, ...noCluster("loading") };
  }
  const { model, describe } = state;
  return {
    model: model.id,
    maxContext: model.engine.maxContext,
    ready: model.engine.ready && !drain.aborted,
    loading: null,
    ...counted,
    ...await describe?.() ?? noCluster("nothing is known of its units"),
  };
}

/** The same of one with several models. */
async function describeModels(models: ServedModels, options: AppOptions): Promise<object> {
  const listed = models.list();
  const [{ id, maxContext }] = listed;
  const ready = !options.drain.aborted;
  return { model: id, maxContext, ready, loading: null, ...countedBy(options), ...await models.describe(), models: listed };
}

function countedBy({ metrics }: AppOptions) {
  return metrics?.summary ?? { generatedTokens: 0, recent: { firstTokenMs: null, interTokenMs: null } };
}

function progressOf({ loadedBytes, totalBytes, pace }: LoadingServer) {
  return { loadedBytes, totalBytes, ...pace?.status(totalBytes) };
}
