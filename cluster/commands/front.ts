/**
 * `front`: the APIs of all cells of a registry behind one address. Stateless: any number of fronts may stand before the same cells.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { type FrontFlags, resolveFront } from "../config/front_settings.ts";
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

/** Relays until asked to stop, then resolves. @throws {LatentmeshError} that names what cannot be used */
export async function front(flags: FrontFlags): Promise<void> {
  using _uncaught = new UncaughtErrors();
  const settings = resolveFront(flags, (name) => Deno.env.get(name));
  const registry = openRegistry(flags.registry, "--registry");
  const ca = flags.cellCa === undefined ? undefined : await readPem(flags.cellCa);
  const stop = { drain: new AbortController(), cancel: new AbortController() };
  await using running = await RunningFront.start(registry, { key: settings.cellKey, ca, onCells: tellCells() });
  const app = createFrontApp({
    context: running.context,
    registryAge: () => running.registryAge,
    registry: registry.name,
    drain: stop.drain.signal,
    shutdown: stop.cancel.signal,
    apiKeys: settings.apiKeys,
    origins: { hosts: settings.allowedHosts, origins: settings.allowedOrigins },
    limits: settings.limits,
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
