/**
 * The HTTP app in this process, over a real engine or a scripted one.
 *
 * @module
 */
import type { Hono } from "hono";
import { type AppOptions, createApp } from "../../cluster/http/app.ts";
import { createGrammars } from "../../cluster/text/model_grammars.ts";
import type { AppEnv } from "../../cluster/http/server_context.ts";
import { HttpServer } from "../../cluster/http/server/http_server.ts";
import { spawnText } from "../../cluster/text/spawn_text.ts";
import { textModelSource } from "../../cluster/text/text_model.ts";
import { TextWork, type TextWorkOptions } from "../../cluster/text/text_work.ts";
import type { ServedModel } from "../../core/engine.ts";
import { Engine } from "../../cluster/local_engine.ts";
import { embeddedDirectory } from "../../cluster/config/embedded_model.ts";

/** An app over a model, with what it needs. */
export interface OpenApp {
  readonly app: Hono<AppEnv>;
  readonly drain: AbortController;
  readonly shutdown: AbortController;
  readonly text: TextWork;
  /** The same with other options. */
  again(options: Partial<AppOptions>): Hono<AppEnv>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** An app over a model. */
export async function openApp(served: ServedModel, options: Partial<AppOptions> = {}, texts: Partial<TextWorkOptions> = {}): Promise<OpenApp> {
  const [drain, shutdown] = [new AbortController(), new AbortController()];
  const grammars = createGrammars(served);
  const text = await TextWork.start(textModelSource(served), { spawn: spawnText, processes: 1, ...texts });
  const again = (options: Partial<AppOptions>) =>
    createApp(() => ({ model: served, grammars, text }), { drain: drain.signal, shutdown: shutdown.signal, maxBodyBytes: 100_000, ...options });
  const close = async () => {
    grammars[Symbol.dispose]();
    await text.close();
  };
  return { app: again(options), drain, shutdown, text, again, close, [Symbol.asyncDispose]: close };
}

/** A model over HTTP on a port of its own. */
export async function serveModel(
  served: ServedModel,
  options: Partial<AppOptions> = {},
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const opened = await openApp(served, { maxBodyBytes: undefined, ...options }, { processes: 2 });
  const server = HttpServer.listen(
    { hostname: "127.0.0.1", port: 0, limits: { total: 4096, perAddress: 4096 } },
    (request) => opened.app.fetch(request),
  );
  return {
    url: `http://127.0.0.1:${server.address.port}`,
    async close() {
      await server.shutdown();
      await opened.close();
    },
  };
}

/** An app and what stops it. */
export interface TestApp extends OpenApp {
  readonly served: ServedModel;
  /** @param body a text or bytes as they are, else as JSON */
  post(path: string, body: unknown): Promise<Response>;
}

/** Loads the embedded model on the CPU behind an app. */
export async function openTestApp(
  change: (served: ServedModel) => ServedModel = (served) => served,
  options: Partial<AppOptions> = {},
  texts: Partial<TextWorkOptions> = {},
): Promise<TestApp> {
  const engine = await Engine.load({ model: embeddedDirectory(), device: "wasm" });
  const served = change(engine.served);
  const opened = await openApp(served, options, texts);
  const close = async () => {
    await opened.close();
    await engine.close();
  };
  return {
    ...opened,
    served,
    close,
    [Symbol.asyncDispose]: close,
    post: async (path, body) =>
      await opened.app.request(path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: typeof body === "string" || body instanceof Uint8Array ? body as BodyInit : JSON.stringify(body),
      }),
  };
}

/** Data of every server-sent event. */
export async function readEvents(response: Response): Promise<string[]> {
  return (await response.text()).split("\n\n").filter((block) => block.startsWith("data: ")).map((block) => block.slice(6));
}
