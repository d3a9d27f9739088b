/**
 * Requests of fronts: who may call itself one, and what its requests have that others have not.
 *
 * @module
 */
import type { Context, MiddlewareHandler } from "hono";
import { HttpError } from "../../api/errors.ts";
import type { PreparedContinuation } from "../../text/jobs.ts";
import { prepared } from "../answers/prepared.ts";
import { REQUEST_ID } from "../guards.ts";
import { bearerOf, digestOf, hasDigest } from "../keys.ts";
import type { AppEnv, ServerContext } from "../server_context.ts";
import {
  AnswerNames,
  type CellIdentity,
  CLIENT_HEADER,
  readRelayHeader,
  RELAY_HEADER,
  RelayNotes,
  type Resumption,
  SPILLED_HEADER,
} from "./relayed_request.ts";

/** How a cell knows its fronts. */
export interface FrontRules {
  /** What a front shows as its bearer token; null: whoever may ask may call itself a front. */
  readonly key: string | null;
  /** Told of prefixes that are here though they are others' by rendezvous. */
  readonly onSpilled?: (key: string) => void;
  /** What this cell is; without it, it goes on with nobody's answers. */
  readonly identity?: () => CellIdentity;
}

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
  const given = bearerOf(c.req.header("authorization"));
  return given !== undefined && hasDigest(given, digest);
}

/** Bytes that a token takes at most in a continuation, and how much longer a body becomes as a text in one. */
const TOKEN_BYTES = 8;
const TEXT_GROWTH = 2;

/** What going on with a request takes. */
export interface ContinueOptions {
  readonly rules: FrontRules | null;
  /** Asked when it is known that a front asks. */
  readonly server: () => Pick<ServerContext, "bodies" | "model" | "text">;
  /** Answers the request as it was sent to the other cell. */
  readonly dispatch: (request: Request, resumption: Resumption) => Response | Promise<Response>;
}

/**
 * Goes on with a request.
 *
 * @throws {HttpError} 403 if it is no front that asks, 409 if this cell does not compute as the other one did, 400 if it cannot be read
 */
export async function handleContinue(c: Context<AppEnv>, { rules, server, dispatch }: ContinueOptions): Promise<Response> {
  if (c.get("relay") === undefined) {
    throw new HttpError(403, "Only a front may have a request go on here: it shows the cell's front key (cell.frontKey)", { code: "not_a_front" });
  }
  const { bodies, text, model: { engine: { maxContext } } } = server();
  const maxBytes = TEXT_GROWTH * bodies.maxBytes + TOKEN_BYTES * maxContext;
  const continuation = await prepared(c, { text, bodies: { ...bodies, maxBytes } }, "continuation");
  checkEqual(continuation, rules?.identity?.() ?? { weights: null, fingerprint: null });
  const { path, body, seed, tokens } = continuation;
  const headers = new Headers(c.req.raw.headers);
  headers.delete("content-length");
  const request = new Request(new URL(path, c.req.url), { method: "POST", headers, body, signal: c.req.raw.signal });
  return await dispatch(request, { seed: BigInt(seed), tokens: tokens.map((some) => [...some]) });
}

/** A front knows cells as they were a moment ago: another process may be at the address by now, with another model. */
function checkEqual({ fingerprint, weights }: PreparedContinuation, own: CellIdentity): void {
  if ((fingerprint ?? own.fingerprint) === own.fingerprint && (weights ?? own.weights) === own.weights) return;
  throw new HttpError(409, "This cell cannot go on with the answer: it would not draw the tokens that the other one would have drawn", {
    code: "not_equal",
  });
}
