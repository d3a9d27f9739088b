/**
 * An HTTP server as commands and the library run one: listens with limits, and ends in good order.
 *
 * @module
 */
import { LatentmeshError } from "../../../core/errors.ts";
import { RepeatedLog } from "../../logs/repeated_log.ts";
import { connectionLimits, openFilesLimit } from "./connection_limits.ts";
import { HttpServer } from "./http_server.ts";
import { whyNotListening } from "./why_not_listening.ts";

/** Where to listen. */
export interface ListenSettings {
  readonly host: string;
  readonly port: number;
  /** Most connections, where that is configured. */
  readonly connections: { readonly total?: number; readonly perAddress?: number };
}

/** Milliseconds that answers have to be taken by their clients when everything has been cancelled. */
const LAST_WORDS = 2000;

/** Listens. @throws {LatentmeshError} `invalid_config` that says why the port cannot be had */
export async function listen(
  { host, port, connections }: ListenSettings,
  handler: (request: Request) => Response | Promise<Response>,
): Promise<HttpServer> {
  const limits = connectionLimits(connections, await openFilesLimit());
  const turnedAway = new RepeatedLog();
  try {
    return HttpServer.listen({
      hostname: host,
      port,
      limits,
      onTurnedAway: (count, reason) =>
        turnedAway.say(`closed connections: ${reason} (server.connections: ${limits.total} in all, ${limits.perAddress} of one address)`, count),
    }, handler);
  } catch (cause) {
    const reason = whyNotListening(cause);
    throw new LatentmeshError("invalid_config", `Cannot listen on ${host}:${port}: ${reason}`, { param: "port", cause });
  }
}

/** Lets requests end, for so many milliseconds; then cancels them. @param reason what those are told that are cancelled */
export async function finish(server: HttpServer | null, cancel: AbortController, milliseconds: number, reason: () => LatentmeshError): Promise<void> {
  const timers = [
    setTimeout(() => cancel.abort(reason()), milliseconds),
    // A client that does not read its answer is not waited for.
    setTimeout(() => server?.cut(), milliseconds + LAST_WORDS),
  ];
  try {
    await server?.shutdown();
  } finally {
    for (const timer of timers) clearTimeout(timer);
  }
}

/** Addresses of every interface, which are none to ask. */
const UNSPECIFIED: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);

/** Where a server that listens there can be asked on this machine. */
export function urlOf({ hostname, port }: { readonly hostname: string; readonly port: number }): string {
  return `http://${UNSPECIFIED.has(hostname) ? "127.0.0.1" : bracketed(hostname)}:${port}`;
}

/** An address as URLs have it. */
export function bracketed(hostname: string): string {
  return hostname.includes(":") ? `[${hostname}]` : hostname;
}
