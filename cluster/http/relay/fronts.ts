/**
 * Requests of fronts: who may call itself one, and what its requests have that others have not.
 *
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import { z } from "zod";
import { HttpError } from "../../api/errors.ts";
import { type BodyLimits, HeldBody } from "../body.ts";
import type { AppEnv, ServerContext } from "../server_context.ts";
import { AnswerNames, CLIENT_HEADER, readRelayHeader, RELAY_HEADER, RelayNotes, type Resumption, SPILLED_HEADER } from "./relayed_request.ts";

/** How a cell knows its fronts. */
export interface FrontRules {
  /** What a front shows as its bearer token; null: whoever may ask may call itself a front. */
  readonly key: string | null;
  /** Told of prefixes that are here though they are others' by rendezvous. */
  readonly onSpilled?: (key: string) => void;
}

/** Names that fronts give requests. */
const REQUEST_ID = /^[\w.:-]{1,128}$/;
/** Names that they give clients, see `requireKey`; none: there are no keys. */
const CLIENT = /^[\w-]{0,64}$/;

/** Recognises fronts, before anybody is asked for a key. @param rules null: there are none */
export function recogniseFronts(rules: FrontRules | null): MiddlewareHandler<AppEnv> {
  const digest = rules === null || rules.key === null ? null : digestOf(rules.key);
  return async (c, next) => {
    c.set("names", new AnswerNames());
    if (rules === null || !isFront(c, digest)) return await next();
    const fields = readRelayHeader(c.req.header(RELAY_HEADER));
    c.set("isFront", true);
    const [client, requestId, spilled] = [CLIENT_HEADER, "x-request-id", SPILLED_HEADER].map((name) => c.req.header(name));
    if (client !== undefined && CLIENT.test(client)) c.set("client", client);
    if (requestId !== undefined && REQUEST_ID.test(requestId)) c.set("requestId", requestId);
    if (spilled !== undefined && /^[\w+/=-]{1,64}$/.test(spilled)) rules.onSpilled?.(spilled);
    if (fields !== null) {
      c.set("names", new AnswerNames(fields));
      c.set("relay", new RelayNotes(c.env?.resumption ?? null));
    }
    await next();
  };
}

/** Applies a rule to everybody but fronts, which have applied their own. */
export function unlessFront(rule: MiddlewareHandler<AppEnv>): MiddlewareHandler<AppEnv> {
  return (c, next) => c.get("isFront") ? next() : rule(c, next);
}

/** @param digest of the key that it shows; null: none is asked for */
function isFront(c: Context<AppEnv>, digest: Uint8Array | null): boolean {
  if (c.req.header(RELAY_HEADER) === undefined && c.req.header(CLIENT_HEADER) === undefined) return false;
  if (digest === null) return true;
  const given = /^bearer +(\S+) *$/i.exec(c.req.header("authorization") ?? "")?.[1];
  return given !== undefined && timingSafeEqual(digestOf(given), digest);
}

function digestOf(key: string) {
  return createHash("sha256").update(key).digest();
}

const continuation = z.strictObject({
  path: z.enum(["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]),
  body: z.string(),
  seed: z.string().regex(/^-?\d{1,40}$/),
  tokens: z.array(z.array(z.int().min(0))).max(4096),
});

/** A request that another cell has begun to answer. */
export type Continuation = z.output<typeof continuation>;

/** Bytes that a token takes at most in a continuation, and how much longer a body becomes as a text in one. */
const TOKEN_BYTES = 8;
const TEXT_GROWTH = 2;

/**
 * Goes on with a request.
 *
 * @param server asked when it is known that a front asks
 * @param dispatch answers the request as it was sent to the other cell
 * @throws {HttpError} 403 if it is no front that asks, 400 if it cannot be read
 */
export async function handleContinue(
  c: Context<AppEnv>,
  server: () => Pick<ServerContext, "bodies" | "model">,
  dispatch: (request: Request, resumption: Resumption) => Response | Promise<Response>,
): Promise<Response> {
  if (c.get("relay") === undefined) {
    throw new HttpError(403, "Only a front may have a request go on here: it shows the cell's front key (cell.frontKey)", { code: "not_a_front" });
  }
  const { bodies, model: { engine: { maxContext } } } = server();
  const maxBytes = TEXT_GROWTH * bodies.maxBytes + TOKEN_BYTES * maxContext;
  const parsed = continuation.safeParse(await jsonOf(c, { ...bodies, maxBytes }));
  if (!parsed.success) throw new HttpError(400, `The continuation cannot be used: ${parsed.error.issues[0].message}`, { code: "invalid_value" });
  const { path, body, seed, tokens } = parsed.data;
  const headers = new Headers(c.req.raw.headers);
  headers.delete("content-length");
  const request = new Request(new URL(path, c.req.url), { method: "POST", headers, body, signal: c.req.raw.signal });
  return await dispatch(request, { seed: BigInt(seed), tokens });
}

async function jsonOf(c: Context<AppEnv>, limits: BodyLimits): Promise<unknown> {
  using held = await HeldBody.read(c.req.raw, c.get("client"), limits);
  try {
    return JSON.parse(new TextDecoder().decode(held.bytes));
  } catch {
    throw new HttpError(400, "The request body is not JSON", { code: "invalid_json" });
  }
}
