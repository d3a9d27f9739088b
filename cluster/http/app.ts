/**
 * The HTTP surface.
 *
 * @module
 */
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { except } from "hono/combine";
import { HTTPException } from "hono/http-exception";
import type { ServedModel } from "../../core/engine.ts";
import { newStepTimes, type ProcessWork } from "../../core/step_times.ts";
import type { ClusterStatus } from "../cluster_status.ts";
import { Grammars } from "../grammar/grammars.ts";
import { grammarVocabulary } from "../grammar/vocabulary.ts";
import { PromptEncoder } from "../text/prompt_encoder.ts";
import { keptTokens } from "./answer_form.ts";
import { addDashboard, DASHBOARD_PATHS } from "./dashboard/routes.ts";
import type { ServerMetrics } from "../observe/metrics.ts";
import { recordRequests, type RequestRecord } from "./request_log.ts";
import { handleChat } from "./chat.ts";
import { handleCompletion } from "./completions.ts";
import { HttpError, toHttpError } from "./errors.ts";
import { allowOrigins, checkOrigin, type ClientLimits, limitClients, nameRequest, type OriginRules, RateLimiter, requireKey } from "./guards.ts";
import { handleResponses } from "./responses.ts";
import type { AppEnv, ServerContext } from "./server_context.ts";
import { handleDetokenize, handleTokenize } from "./tokens.ts";

/** Options of {@link createApp}. */
export interface AppOptions {
  /** Aborted when the server begins to stop: readiness goes false, running generations go on. */
  readonly drain: AbortSignal;
  /** Aborted when running generations must end. */
  readonly shutdown: AbortSignal;
  /** Grammars of answers; without them, requests that need one are refused. */
  readonly grammars?: Grammars;
  /** Tokenises prompts; by default, one of the app's own, whose thread ends with the process. */
  readonly encoder?: PromptEncoder;
  /** What is counted; without it there are no `/metrics`. */
  readonly metrics?: ServerMetrics;
  /** What the cluster is at; without it, one process. */
  readonly describe?: () => Promise<ClusterStatus>;
  /** Where the time of steps has gone, in one process. */
  readonly work?: () => ProcessWork;
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
}

/** Of a body by default; more where the context is so long that prompts need it. */
const LEAST_BODY_BYTES = 4 << 20;
/** A token is some four bytes of text, or up to eight as a number; escaped, a character alone takes six. */
const BODY_BYTES_PER_TOKEN = 32;

/** Everybody may ask about health. */
const OPEN_PATHS = ["/healthz", "/readyz", ...DASHBOARD_PATHS];

/** Grammars over a model's vocabulary. */
export function createGrammars(model: ServedModel): Grammars {
  return new Grammars(() => grammarVocabulary(model, keptTokens(model)));
}

/** Endpoints by method and path. */
export function createApp(model: ServedModel, options: AppOptions): Hono<AppEnv> {
  const bodyBytes = Math.max(LEAST_BODY_BYTES, BODY_BYTES_PER_TOKEN * model.engine.maxContext);
  const { drain, maxBodyBytes = bodyBytes, apiKeys = [], origins = { hosts: undefined, origins: [] }, limits } = options;
  const server: ServerContext = {
    model,
    grammars: options.grammars ?? createGrammars(model),
    encoder: options.encoder ?? new PromptEncoder(model.tokenizer),
    shutdown: options.shutdown,
  };
  const app = new Hono<AppEnv>();
  app.use(nameRequest);
  if (options.onAnswered !== undefined) app.use(recordRequests(options.onAnswered));
  app.use(checkOrigin(origins));
  if (origins.origins.length > 0) app.use(allowOrigins(origins.origins));
  app.use(bodyLimit({
    maxSize: maxBodyBytes,
    onError: () => {
      throw new HttpError(413, `The request body exceeds ${maxBodyBytes} bytes`, { code: "request_too_large" });
    },
  }));
  if (apiKeys.length > 0) app.use(except(OPEN_PATHS, requireKey(apiKeys)));
  if (limits !== undefined) app.use("/v1/*", limitClients(new RateLimiter(limits)));
  app.post("/v1/chat/completions", async (c) => handleChat(c, server, await jsonBody(c)));
  app.post("/v1/completions", async (c) => handleCompletion(c, server, await jsonBody(c)));
  app.post("/v1/responses", async (c) => handleResponses(c, server, await jsonBody(c)));
  app.post("/tokenize", async (c) => handleTokenize(c, server, await jsonBody(c)));
  app.post("/detokenize", async (c) => handleDetokenize(c, model, await jsonBody(c)));
  app.get("/v1/models", (c) => c.json({ object: "list", data: [modelObject(model)] }));
  app.get("/v1/models/:id{.+}", (c) => {
    const id = c.req.param("id");
    if (id !== model.id) throw new HttpError(404, `The model "${id}" does not exist; this server serves "${model.id}"`, { code: "model_not_found" });
    return c.json(modelObject(model));
  });
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/readyz", (c) => {
    const ready = model.engine.ready && !drain.aborted;
    const degraded = model.engine.degraded ?? null;
    if (!ready) return c.json({ status: "not ready" }, 503);
    return c.json(degraded === null ? { status: "ready" } : { status: "degraded", problem: degraded });
  });
  app.get("/cluster", async (c) => c.json(await describe(server, options)));
  const { metrics } = options;
  if (metrics !== undefined) {
    app.get("/metrics", async (c) => {
      const { contentType, text } = await metrics.expose();
      return c.body(text, 200, { "content-type": contentType });
    });
  }
  addDashboard(app);
  app.notFound((c) => errorResponse(c, new HttpError(404, `There is no ${c.req.method} ${c.req.path} here`, { code: "not_found" })));
  // Middleware's own refusals come with their response: a missing key says how to authenticate.
  app.onError((error, c) => error instanceof HTTPException ? error.getResponse() : errorResponse(c, toHttpError(error)));
  return app;
}

/** What there is to say about a server. */
async function describe({ model }: ServerContext, { describe, work, metrics, drain }: AppOptions): Promise<object> {
  const { steps = newStepTimes(), parts } = work?.() ?? {};
  const alone: ClusterStatus & { readonly parts?: ProcessWork["parts"] } = {
    summary: "one process",
    scheduling: { promptTokens: 0, cachedTokens: 0, preemptions: 0, replays: 0, active: 0, waiting: 0, running: 0 },
    steps,
    parts,
    units: [],
  };
  return {
    model: model.id,
    maxContext: model.engine.maxContext,
    ready: model.engine.ready && !drain.aborted,
    ...metrics?.summary ?? { generatedTokens: 0, recent: { firstTokenMs: null, interTokenMs: null } },
    ...await describe?.() ?? alone,
  };
}

function errorResponse(c: Context, error: HttpError): Response {
  if (error.retryAfter !== undefined) c.header("retry-after", String(error.retryAfter));
  // 499 (client closed request) is nginx's and not in hono's list.
  return c.json(error.body, error.status as 400);
}

async function jsonBody(c: Context): Promise<unknown> {
  try {
    return await c.req.json();
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw new HttpError(400, "The request body is not JSON", { code: "invalid_json" });
  }
}

function modelObject(model: ServedModel) {
  return { id: model.id, object: "model", created: model.created, owned_by: "latentmesh", max_model_len: model.engine.maxContext };
}
