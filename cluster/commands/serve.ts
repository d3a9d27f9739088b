/**
 * `serve`: one model, on a cluster or in this process, behind one HTTP server.
 *
 * @module
 */
import type { ServedModel } from "../../core/engine.ts";
import { modelNameOf } from "../../core/model/gguf/parts.ts";
import type { LoadedEngine, LoadEngine, OnProgress } from "./loaded_engine.ts";
import { guardianSettled, guardLauncher } from "../processes/guardian.ts";
import { accessOf } from "../http/access.ts";
import { createApp, type ServerState } from "../http/app.ts";
import type { FrontRules } from "../http/relay/fronts.ts";
import { RegisteredCell, type ServedCell } from "../cell/registered_cell.ts";
import { openRegistry } from "../registry/open_registry.ts";
import { OpenModel } from "../http/open_model.ts";
import { logRequest } from "../http/request_log.ts";
import type { HttpServer } from "../http/server/http_server.ts";
import { bracketed, finish, listen, urlOf } from "../http/server/serving.ts";
import { formatBytes, log } from "../logs/log.ts";
import { logLoaded } from "../logs/log_loaded.ts";
import { LoadingPace } from "../observe/loading_pace.ts";
import { ServerMetrics } from "../observe/metrics.ts";
import { showProgress } from "../logs/progress.ts";
import { hubNameOf, withModelFetched } from "../config/fetch_model.ts";
import type { Settings } from "../config/settings.ts";
import { aborted, endAll, endOnSignals, stopOnSignals, stopping } from "./stop.ts";
import { spawnText } from "../text/spawn_text.ts";
import { TextWork } from "../text/text_work.ts";
import { UncaughtErrors } from "../logs/uncaught.ts";

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
    model: () => "loading" in state ? null : state.model.id,
    cluster: async () => "loading" in state ? null : await state.describe?.() ?? null,
  });
  let cell: RegisteredCell | null = null;
  const app = createApp(() => state, {
    drain: stop.drain.signal,
    shutdown: stop.cancel.signal,
    metrics,
    onAnswered: logRequest,
    ...accessOf(settings),
    fronts: frontRules(settings, () => cell),
  });
  let engine: LoadedEngine | null = null;
  let open: OpenModel | null = null;
  let server: HttpServer | null = null;
  try {
    using loading = endOnSignals();
    server = await listen(settings, (request) => app.fetch(request));
    cell = await register(settings, server, state.loading);
    engine = await load(settings, loadEngine, (progress) => {
      // A worker that is started again later loads, too.
      if (!("loading" in state)) return;
      pace.update(progress);
      const { loadedBytes, totalBytes } = progress;
      state = { ...state, loadedBytes, totalBytes };
    });
    open = await OpenModel.open(engine, { id: settings.modelName, metrics, text });
    state = open.loaded;
    cell?.serves(servedCell(open.loaded.model, engine));
    loading[Symbol.dispose]();
    using _ = stopOnSignals(stop);
    announce(server, engine, open.loaded.model, { started, keyed: settings.apiKeys.length > 0 });
    await Promise.race([aborted(stop.drain.signal), engine.failed]);
    await handOff(cell, stop.cancel.signal);
    log("info", `stopping: running requests have ${settings.shutdownTimeout} s to finish; another Ctrl-C, half a second later, cancels them`);
    await finish(server, stop.cancel, settings.shutdownTimeout * 1000, stopping);
  } finally {
    stop.drain.abort();
    await endAll(
      () => finish(server, stop.cancel, 0, stopping),
      () => cell?.close(),
      () => (open ?? text).close(),
      () => engine?.close(),
      releaseLauncher,
      guardianSettled,
    );
  }
}

/** Milliseconds in which fronts learn that a cell takes no more requests, while it still takes them. */
const NOTICE = 1000;

/** Says in a registry that this server is there, where it is one of several behind fronts. */
async function register({ cell: { registry, advertiseUrl, id } }: Settings, server: HttpServer, model: string): Promise<RegisteredCell | null> {
  if (registry === undefined) return null;
  return await RegisteredCell.register(openRegistry(registry), { url: advertiseUrl ?? urlOf(server.address), id, model });
}

/** Who may call itself a front: who shows the key, or anybody where clients need none. */
function frontRules({ cell: { registry, frontKey }, apiKeys }: Settings, cell: () => RegisteredCell | null): FrontRules | null {
  if (frontKey === undefined && (registry === undefined || apiKeys.length > 0)) return null;
  return {
    key: frontKey ?? null,
    onSpilled: (key) => cell()?.spilled(key),
    identity: () => cell()?.identity ?? { weights: null, fingerprint: null },
  };
}

/** What a registry is told of an engine. */
function servedCell(model: ServedModel, engine: LoadedEngine): ServedCell {
  return {
    model,
    get scheduling() {
      return engine.scheduling;
    },
    arithmetic: () => engine.arithmetic(),
  };
}

/** Lets fronts send requests elsewhere before connections are refused. */
async function handOff(cell: RegisteredCell | null, cancel: AbortSignal): Promise<void> {
  if (cell === null) return;
  cell.drain();
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, NOTICE);
  await Promise.race([promise, aborted(cancel)]);
  clearTimeout(timer);
}

/** What a model is called until it is known what it is. */
async function nameOf(model: string): Promise<string> {
  return (await hubNameOf(model))?.repository ?? modelNameOf(model.replace(/\/+$/, "").split("/").at(-1)!);
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
  log("info", `ready   http://${bracketed(hostname)}:${port} after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  const url = urlOf(server.address);
  log("info", `chat    open ${url} in a browser, or ask: ${askWithCurl(url, model, keyed)}`);
}

/** A command that any shell with curl takes. */
function askWithCurl(url: string, { chatTemplate }: ServedModel, keyed: boolean): string {
  const [path, body] = chatTemplate === null
    ? ["completions", { prompt: "Once upon a time", max_tokens: 60 }]
    : ["chat/completions", { messages: [{ role: "user", content: "Hello" }], max_tokens: 60 }];
  const key = keyed ? ` -H "authorization: Bearer $KEY"` : "";
  return `curl ${url}/v1/${path}${key} -H 'content-type: application/json' -d '${JSON.stringify(body)}'`;
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
