/**
 * `front`: the APIs of all cells of a registry behind one address. Stateless: any number of fronts may stand before the same cells.
 *
 * @module
 */
import { resolveSecret } from "../../core/env.ts";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { checkKey } from "../config/cell_settings.ts";
import { resolveSettings } from "../config/settings.ts";
import { createFrontApp } from "../front/front_app.ts";
import type { FrontCells } from "../front/front_cells.ts";
import { RunningFront } from "../front/running_front.ts";
import { logRequest } from "../http/request_log.ts";
import type { HttpServer } from "../http/server/http_server.ts";
import { finish, listen, urlOf } from "../http/server/serving.ts";
import { log } from "../logs/log.ts";
import { UncaughtErrors } from "../logs/uncaught.ts";
import { openRegistry } from "../registry/open_registry.ts";
import { aborted, stopOnSignals, stopping } from "./stop.ts";

/** Flags of the command, as commander names them. */
export interface FrontFlags {
  readonly registry: string;
  readonly host?: string;
  readonly port?: number;
  readonly apiKey?: readonly string[];
  readonly allowedOrigin?: readonly string[];
  readonly insecure?: boolean;
  readonly shutdownTimeout?: number;
  readonly cellKey?: string;
  readonly cellCa?: string;
  readonly concurrent?: number;
  readonly requestsPerMinute?: number;
}

/** Relays until asked to stop, then resolves. @throws {LatentmeshError} that names what cannot be used */
export async function front(flags: FrontFlags): Promise<void> {
  const { registry: name, host, port, apiKey, allowedOrigin, insecure, shutdownTimeout, concurrent, requestsPerMinute } = flags;
  using _uncaught = new UncaughtErrors();
  const env = (name: string) => Deno.env.get(name);
  // What a server is told of where it listens and of its clients is the same for a front.
  const settings = resolveSettings(
    {
      server: {
        host,
        port: port ?? DEFAULT_PORT,
        apiKeys: apiKey && [...apiKey],
        allowedOrigins: allowedOrigin && [...allowedOrigin],
        shutdownTimeout,
      },
      cluster: { insecure },
    },
    {},
    env,
  );
  const registry = openRegistry(name, "--registry");
  const key = flags.cellKey === undefined ? undefined : resolveSecret(flags.cellKey, "--cell-key", env);
  if (key !== undefined) checkKey("--cell-key", key);
  const ca = flags.cellCa === undefined ? undefined : await readPem(flags.cellCa);
  const stop = { drain: new AbortController(), cancel: new AbortController() };
  await using running = await RunningFront.start(registry, { key, ca, onCells: tellCells() });
  const limits = concurrent === undefined && requestsPerMinute === undefined ? undefined : { concurrent, requestsPerMinute };
  const app = createFrontApp({
    context: running.context,
    registryAge: () => running.registryAge,
    registry: registry.name,
    drain: stop.drain.signal,
    shutdown: stop.cancel.signal,
    apiKeys: settings.apiKeys,
    origins: { hosts: settings.allowedHosts, origins: settings.allowedOrigins },
    limits,
    onAnswered: logRequest,
  });
  let server: HttpServer | null = null;
  try {
    server = await listen(settings, (request) => app.fetch(request));
    using _ = stopOnSignals(stop);
    log("info", `cells   ${describeCells(running.context.cells)}, at ${registry.name}`);
    log("info", `ready   ${urlOf(server.address)}`);
    await aborted(stop.drain.signal);
    log("info", `stopping: running requests have ${settings.shutdownTimeout} s to finish; another Ctrl-C, half a second later, cancels them`);
    await finish(server, stop.cancel, settings.shutdownTimeout * 1000, stopping);
  } finally {
    await finish(server, stop.cancel, 0, stopping);
  }
}

/** Not that of a cell, since one machine may have both. */
export const DEFAULT_PORT = 8000;

/** Logs which cells there are when that has changed. */
function tellCells(): (cells: FrontCells) => void {
  let told = "";
  return (cells) => {
    const now = describeCells(cells);
    if (now !== told) log("info", `cells   ${now}`);
    told = now;
  };
}

function describeCells({ all }: FrontCells): string {
  if (all.length === 0) return "none";
  if (all.length > MOST_NAMED) return `${all.length}, ${all.filter(({ state }) => state === "ready").length} of them ready`;
  return all.map(({ id, state, model }) => `${id} (${model}, ${state})`).toSorted().join(", ");
}

/** More cells than these are counted only. */
const MOST_NAMED = 16;

async function readPem(file: string): Promise<string> {
  try {
    return await Deno.readTextFile(file);
  } catch (cause) {
    throw new LatentmeshError("invalid_config", `Cannot read --cell-ca ${file}: ${messageOf(cause)}`, { cause });
  }
}
