/**
 * Several models behind one API: a request's `model` says which, and the request goes to an app of that model's own once it is loaded.
 *
 * @module
 */
import type { Context, MiddlewareHandler } from "hono";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { HttpError, noSuchModel, quoted } from "../api/errors.ts";
import { TEXT_PATHS } from "../api/paths.ts";
import type { ClusterStatus } from "../observe/cluster_status.ts";
import { type BodyLimits, HeldBody } from "./body.ts";
import { endingWith } from "./guards.ts";
import type { ListedAs } from "./model_objects.ts";
import { requestedModel } from "./requested_model.ts";
import type { AppEnv } from "./server_context.ts";

/** A model of several, as `/v1/models` tells of it. */
export interface ListedModel {
  readonly id: string;
  readonly state: "unloaded" | "loading" | "loaded";
  /** Why it could not be loaded the last time; null: it could, or was never tried. */
  readonly error: string | null;
  /** Tokens; null: known when it is loaded. */
  readonly maxContext: number | null;
  /** How far loading has come; null: it is not being loaded. */
  readonly progress: { readonly loadedBytes: number; readonly totalBytes: number } | null;
}

/** What answers requests to one model, until it is given back. */
export interface ModelUse {
  /** Answers a request that has been let in. */
  fetch(request: Request): Response | Promise<Response>;
  release(): void;
}

/** The models of a server. */
export interface ServedModels {
  /** The first is for requests that name none. */
  list(): readonly ListedModel[];
  /** Waits until it is loaded. @throws {LatentmeshError} `cancelled` by the signal, or why it cannot be */
  use(id: string, signal: AbortSignal): Promise<ModelUse>;
  /** The same for what needs no weights, see `text_app.ts`: it is not loaded for that. */
  useText(id: string, signal: AbortSignal): Promise<ModelUse>;
  /** What the units of all that are loaded are at. */
  describe(): Promise<ClusterStatus>;
}

/**
 * Hands requests that ask something of a model to that model.
 *
 * @param isAsked whether such a request is handed on
 */
export function askModels(models: ServedModels, bodies: BodyLimits, isAsked: (c: Context<AppEnv>) => boolean): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    if (!isAsked(c)) return await next();
    const { use, request } = await taken(c, models, bodies);
    try {
      c.res = endingWith(await use.fetch(request), () => use.release());
    } catch (error) {
      use.release();
      throw error;
    }
  };
}

/** A request whose model is there. Its body is counted here until then, and from then on by the model's app. */
async function taken(c: Context<AppEnv>, models: ServedModels, bodies: BodyLimits): Promise<{ readonly use: ModelUse; readonly request: Request }> {
  const { url, headers: given, signal } = c.req.raw;
  using body = await HeldBody.read(c.req.raw, c.get("client"), bodies);
  const use = await useOf(models, requestedModel(body.bytes), { signal, text: TEXT_PATHS.includes(c.req.path) });
  const headers = new Headers(given);
  // Where it comes from has been looked at; and it comes in one piece now.
  for (const name of ["origin", "content-length", "transfer-encoding"]) headers.delete(name);
  return { use, request: new Request(url, { method: "POST", headers, body: body.bytes, signal }) };
}

/** @param how.text whether nothing but its tokenizer and template is asked for */
async function useOf(
  models: ServedModels,
  named: string | undefined,
  { signal, text }: { readonly signal: AbortSignal; readonly text: boolean },
): Promise<ModelUse> {
  const listed = models.list();
  const id = named ?? listed[0].id;
  if (!listed.some((model) => model.id === id)) throw noneOf(id, listed);
  try {
    return await (text ? models.useText(id, signal) : models.use(id, signal));
  } catch (error) {
    // Neither the client's doing nor for ever: the next request tries again.
    if (error instanceof LatentmeshError && (error.code === "cancelled" || error.code === "capacity")) throw error;
    throw new HttpError(503, `The model "${id}" cannot be loaded: ${messageOf(error)}`, { code: "model_not_loaded", retryAfter: RETRY_AFTER });
  }
}

/** Seconds. */
const RETRY_AFTER = 5;

/** A refusal that says which there are. */
export function noneOf(id: string, listed: readonly ListedModel[]): HttpError {
  return noSuchModel(id, `this server serves ${quoted(listed.map(({ id }) => id))}`);
}

/** A model as `/v1/models` has it. */
export function listedAs({ id, state, error, maxContext }: ListedModel, created: number): ListedAs {
  return { id, created, maxContext, status: { value: state, ...(error === null ? {} : { failed: true, error }) } };
}

/** What `/readyz` says of a model: its state, or that it could not be loaded the last time. */
export function readinessOf({ state, error }: ListedModel): ListedModel["state"] | "failed" {
  return state === "unloaded" && error !== null ? "failed" : state;
}
