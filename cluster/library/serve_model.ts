/**
 * The HTTP API of a model that a program has loaded: what `serve` has, without the command line.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { checkConfig } from "../config/config.ts";
import type { Config } from "../config/config_type.ts";
import { resolveSettings, type Settings } from "../config/settings.ts";
import { accessOf } from "../http/access.ts";
import { createApp } from "../http/app.ts";
import { type HttpEngine, OpenModel } from "../http/open_model.ts";
import { logRequest } from "../http/request_log.ts";
import type { HttpServer } from "../http/server/http_server.ts";
import { finish, listen, urlOf } from "../http/server/serving.ts";
import { ServerMetrics } from "../observe/metrics.ts";
import { spawnText } from "../text/spawn_text.ts";
import { TextWork } from "../text/text_work.ts";

/** The section `server` of a cluster file. */
export type ServeOptions = NonNullable<Config["server"]> & {
  /** Without keys, it may be reached from other machines. */
  readonly insecure?: boolean;
};

/** A model behind HTTP. */
export class ModelServer implements AsyncDisposable {
  /** Where it can be asked on this machine, such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Address that it listens on. */
  readonly hostname: string;
  /** The one that was taken, where any free one was asked for. */
  readonly port: number;
  readonly #server: HttpServer;
  readonly #open: OpenModel;
  readonly #drain: AbortController;
  readonly #cancel: AbortController;
  readonly #timeout: number;
  readonly #onClosed: () => void;
  #closing: Promise<void> | null = null;

  private constructor(parts: {
    readonly server: HttpServer;
    readonly open: OpenModel;
    readonly drain: AbortController;
    readonly cancel: AbortController;
    readonly timeout: number;
    readonly onClosed: () => void;
  }) {
    ({ server: this.#server, open: this.#open, drain: this.#drain, cancel: this.#cancel, timeout: this.#timeout, onClosed: this.#onClosed } = parts);
    this.url = urlOf(parts.server.address);
    ({ hostname: this.hostname, port: this.port } = parts.server.address);
  }

  /** Listens, when requests can be prepared. @param weightBytes of the model @param onClosed told when it has ended */
  static async start(engine: HttpEngine, weightBytes: number, options: ServeOptions, onClosed: () => void = () => {}): Promise<ModelServer> {
    const settings = settingsOf(options);
    const text = new TextWork({ spawn: spawnText });
    const bytes = { loadedBytes: weightBytes, totalBytes: weightBytes };
    const metrics = new ServerMetrics({
      loading: () => ({ ready: engine.served.engine.ready, ...bytes }),
      uncaught: () => 0,
      cluster: () => engine.describe(),
    });
    let open: OpenModel | null = null;
    try {
      const { loaded } = open = await OpenModel.open(engine, { id: settings.modelName, metrics, text });
      const [drain, cancel] = [new AbortController(), new AbortController()];
      const app = createApp(() => loaded, {
        drain: drain.signal,
        shutdown: cancel.signal,
        metrics,
        onAnswered: logRequest,
        ...accessOf(settings),
      });
      const server = await listen(settings, (request) => app.fetch(request));
      return new ModelServer({ server, open, drain, cancel, timeout: settings.shutdownTimeout * 1000, onClosed });
    } catch (error) {
      await (open ?? text).close();
      throw error;
    }
  }

  /**
   * Takes no more requests, and lets those that run finish for `shutdownTimeout` seconds. The model stays loaded.
   *
   * @param options.now end what runs with an error instead
   */
  async close(options: { readonly now?: boolean } = {}): Promise<void> {
    this.#drain.abort();
    if (options.now) this.#cancel.abort(stopping());
    await (this.#closing ??= this.#end());
  }

  /** The same as {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #end(): Promise<void> {
    try {
      await finish(this.#server, this.#cancel, this.#timeout, stopping);
    } finally {
      this.#onClosed();
      await this.#open.close();
    }
  }
}

function settingsOf({ insecure, ...server }: ServeOptions): Settings {
  try {
    return resolveSettings({}, checkConfig({ server, cluster: { insecure } }, "the options of serve"), (name) => Deno.env.get(name));
  } catch (error) {
    if (!(error instanceof LatentmeshError) || error.param === undefined) throw error;
    // Here they are options, and no sections of a file.
    const option = (text: string) => text.replace(/\b(server|cluster)\.(?=\w)/g, "");
    throw new LatentmeshError(error.code, option(error.message), { param: option(error.param), cause: error });
  }
}

function stopping(): LatentmeshError {
  return new LatentmeshError("capacity", "The server is stopping");
}
