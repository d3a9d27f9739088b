/**
 * `serve` with several models: each is loaded when it is asked for, and unloaded when it is idle or others need its room.
 *
 * @module
 */
import { withModelDescribed, withModelFetched } from "../config/fetch_model.ts";
import type { Settings } from "../config/settings.ts";
import type { SeveralModels } from "../config/several_models.ts";
import { accessOf } from "../http/access.ts";
import { createApp } from "../http/app.ts";
import { logRequest } from "../http/request_log.ts";
import type { HttpServer } from "../http/server/http_server.ts";
import { bracketed, finish, listen, urlOf } from "../http/server/serving.ts";
import { formatBytes, log } from "../logs/log.ts";
import { showProgress } from "../logs/progress.ts";
import { UncaughtErrors } from "../logs/uncaught.ts";
import { checkModel, hasRoom, readText } from "../models/room.ts";
import { type ModelEngine, ModelServing } from "../models/served_models.ts";
import { ServerMetrics } from "../observe/metrics.ts";
import type { ChoiceServices } from "../planning/choose_units.ts";
import { guardianSettled, guardLauncher } from "../processes/guardian.ts";
import { spawnText } from "../text/spawn_text.ts";
import type { LoadEngine, OnProgress } from "./loaded_engine.ts";
import { aborted, endAll, stopOnSignals, stopping } from "./stop.ts";

/** Milliseconds that models have to be unloaded when the server stops; what is still being loaded then ends with the process. */
const LAST_UNLOADING = 5000;

/** Serves until asked to stop, then resolves. */
export async function serveModels(
  settings: Settings,
  several: SeveralModels<Settings>,
  loadEngine: LoadEngine,
  services: ChoiceServices,
): Promise<void> {
  using uncaught = new UncaughtErrors();
  const stop = { drain: new AbortController(), cancel: new AbortController() };
  const releaseLauncher = guardLauncher();
  const metrics: ServerMetrics = new ServerMetrics({
    loading: () => ({ ready: !stop.drain.signal.aborted, loadedBytes: models.weightBytes, totalBytes: models.weightBytes }),
    uncaught: () => uncaught.count,
    cluster: () => models.describe(),
  });
  const signals = { drain: stop.drain.signal, shutdown: stop.cancel.signal };
  const models: ModelServing = new ModelServing(several, {
    metrics,
    spawnText,
    app: { ...signals, apiKeys: settings.apiKeys, maxBodyBytes: settings.maxBodyBytes },
    fetch: async (settings, onProgress, signal) => {
      const fetched = await withModelFetched(settings, onProgress, signal);
      await checkModel(fetched, services);
      return fetched;
    },
    describe: withModelDescribed,
    readText: (settings) => readText(settings, services),
    fits: (settings) => hasRoom(settings, services),
    load: (settings, onProgress) => load(settings, loadEngine, onProgress),
  });
  const app = createApp(noState, { ...signals, metrics, onAnswered: logRequest, ...accessOf(settings), models });
  let server: HttpServer | null = null;
  let late = false;
  try {
    server = await listen(settings, (request) => app.fetch(request));
    using _ = stopOnSignals(stop);
    announce(server, several);
    void models.loadKept();
    await aborted(stop.drain.signal);
    log("info", `stopping: running requests have ${settings.shutdownTimeout} s to finish; another Ctrl-C, half a second later, cancels them`);
    await finish(server, stop.cancel, settings.shutdownTimeout * 1000, stopping);
  } finally {
    stop.drain.abort();
    await endAll(() => finish(server, stop.cancel, 0, stopping), async () => late = !await closesInTime(models));
    if (!late) await endAll(releaseLauncher, guardianSettled);
  }
  // After an error the program ends by itself.
  if (late) Deno.exit();
}

/** Everything that is asked about one model is asked of that model. */
function noState(): never {
  throw new Error("There are several models here");
}

/** Unloads all models; one that is being loaded for minutes is not waited for: then this process is to end, and the guardian ends what it has started. */
async function closesInTime(models: ModelServing): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), LAST_UNLOADING);
  try {
    return await Promise.race([models.close().then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function load(settings: Settings, loadEngine: LoadEngine, onProgress: OnProgress): Promise<ModelEngine> {
  const progress = showProgress(`loading ${settings.modelName}`);
  try {
    const engine = await loadEngine(settings, (loaded) => {
      onProgress(loaded);
      progress.update(loaded.loadedBytes, loaded.totalBytes);
    });
    log("info", `model   ${settings.modelName}, ${formatBytes(engine.weightBytes)} of weights, ${engine.summary}`);
    return engine;
  } finally {
    progress.stop();
  }
}

function announce({ address }: HttpServer, { models, maxLoaded }: SeveralModels<Settings>): void {
  const most = maxLoaded === undefined ? "as many at a time as memory allows" : `at most ${maxLoaded} at a time`;
  log("info", `models  ${models.map(({ name }) => name).join(", ")}: each is loaded when it is asked for, ${most}`);
  log("info", `ready   http://${bracketed(address.hostname)}:${address.port}`);
  log("info", `chat    open ${urlOf(address)} in a browser; it asks ${models[0].name}, as requests do that name no model`);
}
