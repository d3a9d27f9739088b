/**
 * `serve`: one model, on a cluster or in this process, behind one HTTP server.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import type { Grammars } from "../grammar/grammars.ts";
import { createApp, createGrammars } from "../http/app.ts";
import { ServerMetrics } from "../observe/metrics.ts";
import { ObservedEngine } from "../observe/observed_engine.ts";
import { logRequest } from "../http/request_log.ts";
import { HttpError } from "../http/errors.ts";
import type { Settings } from "../settings.ts";
import type { LoadedEngine, LoadEngine } from "../engine.ts";
import { formatBytes, log } from "../log.ts";
import { logLoaded } from "../log_loaded.ts";
import { PromptEncoder } from "../text/prompt_encoder.ts";
import { showProgress } from "../progress.ts";

/** Options of {@link serve}. */
export interface ServeOptions {
  /** Asks the server to stop: the first abort drains, see {@link stopOnSignals}. */
  readonly stop: StopRequest;
}

/** How a server is told to stop. */
export interface StopRequest {
  /** Finish what runs. */
  readonly drain: AbortSignal;
  /** Cancel what runs. */
  readonly cancel: AbortSignal;
}

/** Serves until asked to stop, then resolves. */
export async function serve(settings: Settings, loadEngine: LoadEngine, { stop }: ServeOptions): Promise<void> {
  const started = performance.now();
  let handler: (request: Request) => Response | Promise<Response> = () => loading();
  const server = listen(settings, (request) => handler(request));
  const cancelTimer = new AbortController();
  let engine: LoadedEngine | null = null;
  let grammars: Grammars | null = null;
  let encoder: PromptEncoder | null = null;
  try {
    engine = await load(settings, loadEngine);
    const loaded = engine;
    const describe = loaded.describe === undefined ? undefined : () => loaded.describe!();
    const metrics = new ServerMetrics(describe ?? null);
    if (describe !== undefined) loaded.onOutcome = (outcome) => metrics.phases(outcome);
    const served = { ...loaded.served, id: settings.modelName ?? loaded.served.id, engine: new ObservedEngine(loaded.served.engine, metrics) };
    const shutdown = AbortSignal.any([stop.cancel, cancelTimer.signal]);
    grammars = createGrammars(served);
    encoder = new PromptEncoder(served.tokenizer);
    const app = createApp(served, {
      drain: stop.drain,
      shutdown,
      grammars,
      encoder,
      metrics,
      describe,
      work: loaded.work === undefined ? undefined : () => loaded.work!,
      onAnswered: logRequest,
      apiKeys: settings.apiKeys,
      maxBodyBytes: settings.maxBodyBytes,
      origins: { hosts: settings.allowedHosts, origins: settings.allowedOrigins },
      limits: settings.limits,
    });
    handler = (request) => app.fetch(request);
    const { hostname, port } = server.addr as Deno.NetAddr;
    log("info", `model   ${served.id}, ${formatBytes(engine.weightBytes)} of weights, context of ${served.engine.maxContext} tokens`);
    if (engine.loadTimes !== undefined) logLoaded("this process", engine.loadTimes);
    if (engine.summary !== undefined) log("info", `cluster ${engine.summary}`);
    log("info", `device  ${engine.device}`);
    for (const advice of engine.advice) log("info", `advice  ${advice}`);
    log(
      "info",
      `ready   http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port} after ${((performance.now() - started) / 1000).toFixed(1)} s`,
    );
    await Promise.race([aborted(stop.drain), ...(engine.failed === undefined ? [] : [engine.failed])]);
    log("info", `stopping: running requests have ${settings.shutdownTimeout} s to finish`);
    const timer = setTimeout(() => cancelTimer.abort(), settings.shutdownTimeout * 1000);
    await server.shutdown();
    clearTimeout(timer);
  } finally {
    await server.shutdown();
    grammars?.[Symbol.dispose]();
    encoder?.[Symbol.dispose]();
    await engine?.close();
  }
}

function listen(settings: Settings, handler: (request: Request) => Response | Promise<Response>): Deno.HttpServer {
  const { host, port } = settings;
  try {
    return Deno.serve({ hostname: host, port, onListen: () => {} }, handler);
  } catch (cause) {
    const reason = cause instanceof Deno.errors.AddrInUse ? "the port is in use; choose another with --port" : messageOf(cause);
    throw new LatentmeshError("invalid_config", `Cannot listen on ${host}:${port}: ${reason}`, { param: "port", cause });
  }
}

async function load(settings: Settings, loadEngine: LoadEngine): Promise<LoadedEngine> {
  const progress = showProgress("loading");
  try {
    return await loadEngine(settings, ({ loadedBytes, totalBytes }) => progress.update(loadedBytes, totalBytes));
  } finally {
    progress.stop();
  }
}

function loading(): Response {
  return Response.json(new HttpError(503, "The model is still loading", { code: "loading" }).body, { status: 503, headers: { "retry-after": "1" } });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** SIGTERM and SIGINT: the first drains, the second cancels. Dispose to listen no more. */
export function stopOnSignals(): StopRequest & Disposable {
  const drain = new AbortController();
  const cancel = new AbortController();
  const onSignal = () => (drain.signal.aborted ? cancel : drain).abort();
  const signals = ["SIGTERM", "SIGINT"] as const;
  for (const signal of signals) Deno.addSignalListener(signal, onSignal);
  return {
    drain: drain.signal,
    cancel: cancel.signal,
    [Symbol.dispose]: () => {
      for (const signal of signals) Deno.removeSignalListener(signal, onSignal);
    },
  };
}
