/**
 * The HTTP surface.
 *
 * @module
 */
import { type Context, Hono } from "hono";
import { bearerAuth } from "hono/bearer-auth";
import { bodyLimit } from "hono/body-limit";
import { except } from "hono/combine";
import { HTTPException } from "hono/http-exception";
import type { ServedModel } from "../../core/engine.ts";
import { handleChat } from "./chat.ts";
import { handleCompletion } from "./completions.ts";
import { HttpError, toHttpError } from "./errors.ts";
import { handleDetokenize, handleTokenize } from "./tokens.ts";

/** Options of {@link createApp}. */
export interface AppOptions {
  /** Aborted when the server begins to stop: readiness goes false, running generations go on. */
  readonly drain: AbortSignal;
  /** Aborted when running generations must end. */
  readonly shutdown: AbortSignal;
  /** Largest request body. */
  readonly maxBodyBytes?: number;
  /** Keys of which clients must present one; none: everybody may ask. */
  readonly apiKeys?: readonly string[];
}

const MAX_BODY_BYTES = 4 << 20;

/** Endpoints by method and path. */
export function createApp(model: ServedModel, { drain, shutdown, maxBodyBytes = MAX_BODY_BYTES, apiKeys = [] }: AppOptions): Hono {
  const app = new Hono();
  app.use(bodyLimit({
    maxSize: maxBodyBytes,
    onError: () => {
      throw new HttpError(413, `The request body exceeds ${maxBodyBytes} bytes`, { code: "request_too_large" });
    },
  }));
  if (apiKeys.length > 0) app.use(requireKey(apiKeys));
  app.post("/v1/chat/completions", async (c) => handleChat(c, model, await jsonBody(c), shutdown));
  app.post("/v1/completions", async (c) => handleCompletion(c, model, await jsonBody(c), shutdown));
  app.post("/tokenize", async (c) => handleTokenize(c, model, await jsonBody(c)));
  app.post("/detokenize", async (c) => handleDetokenize(c, model, await jsonBody(c)));
  app.get("/v1/models", (c) => c.json({ object: "list", data: [modelObject(model)] }));
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/readyz", (c) => {
    const ready = model.engine.ready && !drain.aborted;
    return c.json({ status: ready ? "ready" : "not ready" }, ready ? 200 : 503);
  });
  app.notFound((c) => errorResponse(c, new HttpError(404, `There is no ${c.req.method} ${c.req.path} here`, { code: "not_found" })));
  // Middleware's own refusals come with their response: a missing key says how to authenticate.
  app.onError((error, c) => error instanceof HTTPException ? error.getResponse() : errorResponse(c, toHttpError(error)));
  return app;
}

function errorResponse(c: Context, error: HttpError): Response {
  // 499 (client closed request) is nginx's and not in hono's list.
  return c.json(error.body, error.status as 400);
}

/** Health is everybody's; all else needs a key. Keys are compared in constant time, by hono. */
function requireKey(apiKeys: readonly string[]) {
  const check = bearerAuth({
    token: [...apiKeys],
    noAuthenticationHeader: { message: refusal("No API key was given; send it as a bearer token") },
    invalidAuthenticationHeader: { message: refusal("The authorization header is not a bearer token") },
    invalidToken: { message: refusal("The API key is wrong") },
  });
  return except(["/healthz", "/readyz"], check);
}

function refusal(message: string): object {
  return new HttpError(401, message, { code: "invalid_api_key" }).body;
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
