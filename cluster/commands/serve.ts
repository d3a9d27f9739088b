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
import { aborted, endOnSignals, stopOnSignals, stopping } from "./stop.ts";
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
    cluster: async () => "loading" in state ? null : await state.describe?.() ?? null,
  });
  const app = createApp(() => state, {
    drain: stop.drain.signal,
    shutdown: stop.cancel.signal,
    metrics,
    onAnswered: logRequest,
    ...accessOf(settings),
  });
  let engine: LoadedEngine | null = null;
  let open: OpenModel | null = null;
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
    open = await OpenModel.open(engine, { id: settings.modelName, metrics, text });
    state = open.loaded;
    loading[Symbol.dispose]();
    using _ = stopOnSignals(stop);
    announce(server, engine, open.loaded.model, { started, keyed: settings.apiKeys.length > 0 });
    await Promise.race([aborted(stop.drain.signal), engine.failed]);
    log("info", `stopping: running requests have ${settings.shutdownTimeout} s to finish; another Ctrl-C, half a second later, cancels them`);
    await finish(server, stop.cancel, settings.shutdownTimeout * 1000, stopping);
  } finally {
    stop.drain.abort();
    await finish(server, stop.cancel, 0, stopping);
    await (open ?? text).close();
    await engine?.close();
    releaseLauncher();
    await guardianSettled();
  }
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
