/**
 * `serve`: one model, on a cluster or in this process, behind one HTTP server.
 *
 * @module
 */
import type { ServedModel } from "../../core/engine.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { modelNameOf } from "../../core/model/gguf/parts.ts";
import type { LoadedEngine, LoadEngine, OnProgress } from "./loaded_engine.ts";
import type { Grammars } from "../grammar/grammars.ts";
import { guardianSettled, guardLauncher } from "../processes/guardian.ts";
import { createApp, createGrammars, type ServerState } from "../http/app.ts";
import { logRequest } from "../http/request_log.ts";
import { connectionLimits, openFilesLimit } from "../http/server/connection_limits.ts";
import { HttpServer } from "../http/server/http_server.ts";
import { formatBytes, log } from "../logs/log.ts";
import { logLoaded } from "../logs/log_loaded.ts";
import { LoadingPace } from "../observe/loading_pace.ts";
import { ServerMetrics } from "../observe/metrics.ts";
import { ObservedEngine } from "../observe/observed_engine.ts";
import { showProgress } from "../logs/progress.ts";
import { RepeatedLog } from "../logs/repeated_log.ts";
import { hubNameOf, withModelFetched } from "../config/fetch_model.ts";
import type { Settings } from "../config/settings.ts";
import { whyNotListening } from "./listening.ts";
import { aborted, endOnSignals, stopOnSignals, stopping } from "./stop.ts";
import { spawnText } from "../text/spawn_text.ts";
import { textModelSource } from "../text/text_model.ts";
import { TextWork } from "../text/text_work.ts";
import { UncaughtErrors } from "../logs/uncaught.ts";

/** Milliseconds that answers have to be taken by their clients when everything has been cancelled. */
const LAST_WORDS = 2000;

/** Serves until asked to stop, then resolves. */
export async function serve(settings: Settings, loadEngine: LoadEngine): Promise<void> {
  const started = performance.now();
  using uncaught = new UncaughtErrors();
  const stop = { drain: new AbortController(), cancel: new AbortController() };
  const releaseLauncher = guardLauncher();
  const text = new TextWork({ spawn: spawnText });
  const pace = new LoadingPace();
  let state: ServerState = { loading: settings.modelName ?? await nameOf(settings.model), loadedBytes: 0, totalBytes: 0, pace };
  const metrics = new ServerMetrics({
    loading: () =>
      "loading" in state
        ? { ready: false, ...state, downloading: pace.downloading }
        : { ready: state.model.engine.ready, loadedBytes: engine!.weightBytes, totalBytes: engine!.weightBytes },
    uncaught: () => uncaught.count,
    cluster: async () => "loading" in state ? null : await state.describe?.() ?? null,
  });
  const app = createApp(() => state, {
    drain: stop.drain.signal,
    shutdown: stop.cancel.signal,
    metrics,
    onAnswered: logRequest,
    apiKeys: settings.apiKeys,
    maxBodyBytes: settings.maxBodyBytes,
    origins: { hosts: settings.allowedHosts, origins: settings.allowedOrigins },
    limits: settings.limits,
  });
  let engine: LoadedEngine | null = null;
  let grammars: Grammars | null = null;
  let server: HttpServer | null = null;
  try {
    using loading = endOnSignals();
    server = await listen(settings, (request) => app.fetch(request));
    engine = await load(settings, loadEngine, (progress) => {
      // A worker that is started again later loads, too.
      if (!("loading" in state)) return;
      pace.update(progress);
      const { loadedBytes, totalBytes } = progress;
      state = { ...state, loadedBytes, totalBytes };
    });
    const loaded = engine;
    await text.open(textModelSource({ ...loaded.served, id: settings.modelName ?? loaded.served.id }));
    loaded.onOutcome = (outcome) => metrics.phases(outcome);
    const model = { ...loaded.served, id: settings.modelName ?? loaded.served.id, engine: new ObservedEngine(loaded.served.engine, metrics) };
    grammars = createGrammars(model);
    state = { model, grammars, text, describe: () => loaded.describe() };
    loading[Symbol.dispose]();
    using _ = stopOnSignals(stop);
    announce(server, loaded, model, { started, keyed: settings.apiKeys.length > 0 });
    await Promise.race([aborted(stop.drain.signal), engine.failed]);
    log("info", `stopping: running requests have ${settings.shutdownTimeout} s to finish; another Ctrl-C, half a second later, cancels them`);
    await finish(server, stop.cancel, settings.shutdownTimeout * 1000);
  } finally {
    stop.drain.abort();
    await finish(server, stop.cancel, 0);
    await text.close();
    grammars?.[Symbol.dispose]();
    await engine?.close();
    releaseLauncher();
    await guardianSettled();
  }
}

/** What a model is called until it is known what it is. */
async function nameOf(model: string): Promise<string> {
  return (await hubNameOf(model))?.repository ?? modelNameOf(model.replace(/\/+$/, "").split("/").at(-1)!);
}

/** Lets requests end, for so many milliseconds; then cancels them. */
async function finish(server: HttpServer | null, cancel: AbortController, milliseconds: number): Promise<void> {
  const timers = [
    setTimeout(() => cancel.abort(stopping()), milliseconds),
    // A client that does not read its answer is not waited for.
    setTimeout(() => server?.cut(), milliseconds + LAST_WORDS),
  ];
  await server?.shutdown();
  for (const timer of timers) clearTimeout(timer);
}

function announce(
  server: HttpServer,
  engine: LoadedEngine,
  model: ServedModel,
  { started, keyed }: { readonly started: number; readonly keyed: boolean },
): void {
  const { hostname, port } = server.address;
  log("info", `model   ${model.id}, ${formatBytes(engine.weightBytes)} of weights, context of ${model.engine.maxContext} tokens`);
  if (engine.loadTimes !== undefined) logLoaded("this process", engine.loadTimes);
  log("info", `cluster ${engine.summary}`);
  log("info", `device  ${engine.device}`);
  for (const advice of engine.advice) log("info", `advice  ${advice}`);
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  log("info", `ready   http://${host}:${port} after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  const url = `http://${UNSPECIFIED.has(hostname) ? "127.0.0.1" : host}:${port}`;
  log("info", `chat    open ${url} in a browser, or ask: ${askWithCurl(url, model, keyed)}`);
}

/** Addresses of every interface, which are none to ask. */
const UNSPECIFIED: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);

/** A command that any shell with curl takes. */
function askWithCurl(url: string, { chatTemplate }: ServedModel, keyed: boolean): string {
  const [path, body] = chatTemplate === null
    ? ["completions", { prompt: "Once upon a time", max_tokens: 60 }]
    : ["chat/completions", { messages: [{ role: "user", content: "Hello" }], max_tokens: 60 }];
  const key = keyed ? ` -H "authorization: Bearer $KEY"` : "";
  return `curl ${url}/v1/${path}${key} -H 'content-type: application/json' -d '${JSON.stringify(body)}'`;
}

async function listen({ host, port, connections }: Settings, handler: (request: Request) => Response | Promise<Response>): Promise<HttpServer> {
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

async function load(given: Settings, loadEngine: LoadEngine, onProgress: OnProgress): Promise<LoadedEngine> {
  const settings = await withModelFetched(given, onProgress);
  onProgress({ loadedBytes: 0, totalBytes: 0 });
  const progress = showProgress("loading");
  try {
    return await loadEngine(settings, (loaded) => {
      onProgress(loaded);
      progress.update(loaded.loadedBytes, loaded.totalBytes);
    });
  } finally {
    progress.stop();
  }
}
