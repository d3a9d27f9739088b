/**
 * Who may ask, from where, and how much: checked before a body is read.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { timingSafeEqual } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { HttpError } from "../api/errors.ts";
import { TEXT_PATHS } from "../api/paths.ts";
import { bearerOf, digestOf } from "./keys.ts";
import type { AppEnv } from "./server_context.ts";

/** Where requests may come from. */
export interface OriginRules {
  /** Names under which the server may be asked for; undefined: any. Keeps pages of other sites from reaching it by a name of theirs (DNS rebinding). */
  readonly hosts: readonly string[] | undefined;
  /** Origins of web pages that may ask, besides the server's own; `*`: of any. */
  readonly origins: readonly string[];
}

/** Refuses requests under other names and from pages of other sites. */
export function checkOrigin({ hosts, origins }: OriginRules): MiddlewareHandler<AppEnv> {
  const allowed = hosts === undefined ? null : new Set(hosts.map((host) => host.toLowerCase()));
  return async (c, next) => {
    const host = (c.req.header("host") ?? new URL(c.req.url).host).toLowerCase();
    const name = host.replace(/:\d+$/, "");
    if (allowed !== null && !allowed.has(name) && !allowed.has(host)) {
      throw new HttpError(403, `The name "${name}" is not one of this server's; add it to server.allowedHosts`, { code: "host_not_allowed" });
    }
    const origin = c.req.header("origin");
    if (origin !== undefined && !origins.includes("*") && !origins.includes(origin) && hostOf(origin) !== host) {
      throw new HttpError(403, `Pages of ${origin} may not ask this server; add it to server.allowedOrigins`, { code: "origin_not_allowed" });
    }
    await next();
  };
}

function hostOf(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}

/** Lets pages of these origins read answers. */
export function allowOrigins(origins: readonly string[]): MiddlewareHandler<AppEnv> {
  return cors({
    origin: origins.includes("*") ? "*" : [...origins],
    // Whichever headers are asked for: OpenAI's client sends a dozen of its own, and none of them means anything here.
    allowHeaders: [],
    exposeHeaders: ["x-request-id", "request-id", "retry-after", "warning"],
    allowMethods: ["GET", "POST"],
    maxAge: 600,
  });
}

/**
 * Refuses requests without a key, compared in constant time, and notes whose they are. Anthropic's clients send theirs as `x-api-key`.
 *
 * @param digest makes digests of one length; each key that a request shows has its own made once
 */
export function requireKey(apiKeys: readonly string[], digest: (key: string) => Uint8Array = digestOf): MiddlewareHandler<AppEnv> {
  const digests = apiKeys.map(digest);
  return async (c, next) => {
    const header = c.req.header("authorization");
    const given = [bearerOf(header), c.req.header("x-api-key")].filter((key) => key !== undefined);
    // All are compared with all, so that no time tells which came near.
    const right = given.map(digest).filter((shown) => digests.filter((own) => timingSafeEqual(own, shown)).length > 0);
    if (right.length === 0) {
      c.header("www-authenticate", "Bearer");
      const problem = given.length > 0
        ? "The API key is wrong"
        : header === undefined
        ? "No API key was given; send it as a bearer token, or as x-api-key"
        : "The authorization header is not a bearer token";
      throw new HttpError(401, problem, { code: "invalid_api_key" });
    }
    // The key itself goes no further.
    c.set("client", Buffer.from(right[0]).toString("base64url").slice(0, 16));
    await next();
  };
}

/** What one client may do; undefined: as much as it likes. */
export interface ClientLimits {
  /** Requests at a time. */
  readonly concurrent?: number;
  readonly requestsPerMinute?: number;
}

/** What limits are set by. */
export type LimitNames = Readonly<Record<keyof ClientLimits, string>>;

const SETTINGS: LimitNames = { concurrent: "server.limits.concurrent", requestsPerMinute: "server.limits.requestsPerMinute" };

interface Account {
  running: number;
  /** Requests it may make now. */
  tokens: number;
  filled: number;
}

/** Counts what clients do. */
export class RateLimiter {
  readonly #limits: ClientLimits;
  readonly #now: () => number;
  readonly #names: LimitNames;
  readonly #accounts = new Map<string, Account>();

  /** @param options.now milliseconds @param options.names what the limits are set by */
  constructor(
    limits: ClientLimits,
    { now = () => performance.now(), names = SETTINGS }: { readonly now?: () => number; readonly names?: LimitNames } = {},
  ) {
    this.#limits = limits;
    this.#now = now;
    this.#names = names;
  }

  /** Begins a request. @returns what ends it @throws {HttpError} 429 that says when to come again */
  begin(client: string): () => void {
    const { concurrent = Infinity, requestsPerMinute } = this.#limits;
    const account = this.#account(client);
    if (account.running >= concurrent) {
      throw tooMany(`${account.running} requests of this client are running; the most are ${concurrent} (${this.#names.concurrent})`, 1);
    }
    if (requestsPerMinute !== undefined) {
      if (account.tokens < 1) {
        const seconds = Math.ceil((1 - account.tokens) / requestsPerMinute * 60);
        throw tooMany(
          `This client may make ${requestsPerMinute} requests in a minute (${this.#names.requestsPerMinute}); wait ${seconds} s`,
          seconds,
        );
      }
      account.tokens--;
    }
    account.running++;
    let ended = false;
    return () => {
      if (!ended) account.running--;
      ended = true;
      this.#forgetIdle(client, account);
    };
  }

  #account(client: string): Account {
    const full = this.#limits.requestsPerMinute ?? 0;
    const account = this.#accounts.get(client) ?? { running: 0, tokens: full, filled: this.#now() };
    account.tokens = Math.min(full, account.tokens + (this.#now() - account.filled) / 60_000 * full);
    account.filled = this.#now();
    this.#accounts.set(client, account);
    return account;
  }

  /** A full account says nothing. */
  #forgetIdle(client: string, account: Account): void {
    if (account.running === 0 && account.tokens >= (this.#limits.requestsPerMinute ?? 0)) this.#accounts.delete(client);
  }
}

function tooMany(message: string, retryAfter: number): HttpError {
  return new HttpError(429, message, { code: "rate_limit_exceeded", retryAfter });
}

/** Whether a path costs something: all of the API's, and those of texts. */
const isLimited = (path: string) => path.startsWith("/v1/") || TEXT_PATHS.includes(path);

/** Applies limits to a request until its response has been sent. */
export function limitClients(limiter: RateLimiter): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    if (!isLimited(c.req.path)) return await next();
    const end = limiter.begin(c.get("client"));
    try {
      await next();
    } catch (error) {
      end();
      throw error;
    }
    c.res = endingWith(c.res, end);
  };
}

/** A response whose end, or whose abandonment, is noticed. @param onEnd told once, and whether it was abandoned */
export function endingWith(response: Response, onEnd: (abandoned: boolean) => void): Response {
  if (response.body === null) {
    onEnd(false);
    return response;
  }
  const reader = response.body.getReader();
  let ended = false;
  const end = (abandoned: boolean) => {
    if (!ended) onEnd(abandoned);
    ended = true;
  };
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read().catch((error) => {
        end(false);
        throw error;
      });
      if (ended) return;
      if (!done) return controller.enqueue(value);
      end(false);
      controller.close();
    },
    async cancel(reason) {
      end(true);
      await reader.cancel(reason);
    },
    // Nothing is read before somebody wants it: how much waits is for the stream inside to say.
  }, { highWaterMark: 0 });
  return new Response(body, response);
}

/** Names that clients and fronts may give requests. */
export const REQUEST_ID = /^[\w.:-]{1,128}$/;

/** Names the request, in its response and in logs. */
export async function nameRequest(c: Context<AppEnv>, next: () => Promise<void>): Promise<void> {
  c.set("requestId", `req_${crypto.randomUUID().replaceAll("-", "")}`);
  c.set("client", "");
  await next();
  for (const header of ["x-request-id", "request-id"]) c.res.headers.set(header, c.get("requestId"));
}
