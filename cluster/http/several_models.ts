/**
 * Several models behind one API: a request's `model` says which, and the request goes to an app of that model's own once it is loaded.
 *
 * @module
 */
import type { Context, MiddlewareHandler } from "hono";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { HttpError } from "../api/errors.ts";
import type { ClusterStatus } from "../observe/cluster_status.ts";
import { type BodyLimits, HeldBody } from "./body.ts";
import { endingWith } from "./guards.ts";
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
  const use = await useOf(models, requestedModel(body.bytes), signal);
  const headers = new Headers(given);
  // Where it comes from has been looked at; and it comes in one piece now.
  for (const name of ["origin", "content-length", "transfer-encoding"]) headers.delete(name);
  return { use, request: new Request(url, { method: "POST", headers, body: body.bytes, signal }) };
}

async function useOf(models: ServedModels, named: string | undefined, signal: AbortSignal): Promise<ModelUse> {
  const listed = models.list();
  const id = named ?? listed[0].id;
  if (!listed.some((model) => model.id === id)) throw noSuchModel(id, listed);
  try {
    return await models.use(id, signal);
  } catch (error) {
    // Neither the client's doing nor for ever: the next request tries again.
    if (error instanceof LatentmeshError && (error.code === "cancelled" || error.code === "capacity")) throw error;
    throw new HttpError(503, `The model "${id}" cannot be loaded: ${messageOf(error)}`, { code: "model_not_loaded", retryAfter: RETRY_AFTER });
  }
}

/** Seconds. */
const RETRY_AFTER = 5;

/** A refusal that says which there are. */
export function noSuchModel(id: string, listed: readonly ListedModel[]): HttpError {
  const names = listed.map(({ id }) => `"${id}"`).join(", ");
  return new HttpError(404, `The model "${id.slice(0, 256)}" does not exist; this server serves ${names}`, {
    param: "model",
    code: "model_not_found",
  });
}

/** An entry of `/v1/models`; its state as llama.cpp's router has it. */
export function listedObject({ id, state, error, maxContext }: ListedModel, created: number): object {
  return {
    id,
    object: "model",
    created,
    owned_by: "latentmesh",
    ...(maxContext === null ? {} : { max_model_len: maxContext }),
    status: { value: state, ...(error === null ? {} : { failed: true, error }) },
  };
}

/** What `/readyz` says of a model: its state, or that it could not be loaded the last time. */
export function readinessOf({ state, error }: ListedModel): ListedModel["state"] | "failed" {
  return state === "unloaded" && error !== null ? "failed" : state;
}

/** The same as Anthropic's API has it, which knows of no states. */
export function listedAnthropic({ id, maxContext }: ListedModel, created: number): object {
  const most = maxContext === null ? {} : { max_input_tokens: maxContext, max_tokens: maxContext };
  return { type: "model", id, display_name: id, created_at: new Date(created * 1000).toISOString(), ...most };
}

/** All of `/v1/models`. */
export function listOf(listed: readonly ListedModel[], created: number, anthropic: boolean): object {
  if (!anthropic) return { object: "list", data: listed.map((model) => listedObject(model, created)) };
  const data = listed.map((model) => listedAnthropic(model, created));
  return { data, has_more: false, first_id: listed[0].id, last_id: listed.at(-1)!.id };
}
