/**
 * What hubs answer, as errors that say what to do. A fault passes, maybe, and what was asked is asked again; an error does not.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { HubAccess } from "./hub_access.ts";
import { formatHubName, type HubName } from "./hub_name.ts";

/** Something that may be otherwise the next time. */
export class HubFault extends Error {
  override readonly name = "HubFault";
  /** Milliseconds that the hub asks to wait. */
  readonly retryAfterMs: number | undefined;
  /** HTTP status, if there was an answer. */
  readonly status: number | undefined;

  constructor(message: string, options: { retryAfterMs?: number; status?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
    this.status = options.status;
  }
}

/** Statuses of a moment. */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429]);

/** A fault for an answer that may pass; null if it is one that stays. */
export function faultOf({ status, headers }: Response, now: number = Date.now()): HubFault | null {
  if (status < 500 && !PASSING.has(status)) return null;
  return new HubFault(`the server answers ${status}`, { status, retryAfterMs: retryAfter(headers.get("retry-after"), now) });
}

/** Milliseconds: the header holds seconds or a date. */
function retryAfter(header: string | null, now: number): number | undefined {
  if (header === null) return undefined;
  if (/^\d+$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** What an answer that stays means for whoever asked for a model, or for a file of it. */
export function refusal(response: Response, name: HubName, { endpoint, token }: HubAccess, file?: string): LatentmeshError {
  const model = formatHubName(name);
  const page = `${endpoint}/${name.repository}`;
  const { status, headers } = response;
  const code = headers.get("x-error-code");
  const of = (code: LatentmeshError["code"], problem: string) =>
    new LatentmeshError(code, `Cannot fetch ${file === undefined ? model : `${file} of ${model}`}: ${problem}`, { param: "model" });
  if (code === "GatedRepo") {
    const then = token === null ? "set HF_TOKEN to a token of yours (or hf auth login)" : "use a token (HF_TOKEN) of an account that was given it";
    return of("unauthorized", `it is gated: ask for access on ${page}, and ${then}`);
  }
  if (code === "RevisionNotFound") {
    return of("not_found", `the model is on ${endpoint}, but has no revision "${name.revision}"; see ${page}/tree/main`);
  }
  if (code === "EntryNotFound" || (status === 404 && file !== undefined)) {
    return of("not_found", `${endpoint} has no such file there any more; try again`);
  }
  if (status === 401 && token !== null && code !== "RepoNotFound") {
    return of("unauthorized", `${endpoint} does not know the token; make another, and set HF_TOKEN (or hf auth login)`);
  }
  if (status === 401 || status === 404) {
    const seen = token === null ? "if it is private or gated, set HF_TOKEN (or hf auth login)" : "or the token (HF_TOKEN) may not see it";
    return of(status === 401 ? "unauthorized" : "not_found", `${endpoint} has no model of that name, and there is no such directory here; ${seen}`);
  }
  if (status === 403) {
    return of("unauthorized", `${endpoint} does not allow it${message(headers)}; see ${page}, and the rights of the token (HF_TOKEN)`);
  }
  return of("not_found", `${endpoint} answers ${status}${message(headers)}`);
}

function message(headers: Headers): string {
  const text = headers.get("x-error-message");
  return text === null ? "" : ` (${printable(text)})`;
}

/** What somebody else wrote, for a terminal: no escapes, and an end. */
export function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, "").slice(0, 200);
}
