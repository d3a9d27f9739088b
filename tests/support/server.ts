/**
 * The HTTP app in this process, over a real engine or a scripted one.
 *
 * @module
 */
import type { Hono } from "hono";
import { type AppOptions, createApp, createGrammars } from "../../cluster/http/app.ts";
import type { AppEnv } from "../../cluster/http/server_context.ts";
import type { ServedModel } from "../../core/engine.ts";
import { Engine } from "../../workers/engine.ts";
import { fixtureDirectory } from "./fixtures.ts";

/** An app and what stops it. */
export interface TestApp {
  readonly app: Hono<AppEnv>;
  readonly served: ServedModel;
  readonly drain: AbortController;
  readonly shutdown: AbortController;
  post(path: string, body: unknown): Promise<Response>;
  close(): Promise<void>;
}

/** Loads the embedded model on the CPU behind an app. */
export async function openTestApp(
  change: (served: ServedModel) => ServedModel = (served) => served,
  options: Partial<AppOptions> = {},
): Promise<TestApp> {
  const engine = await Engine.load({ model: fixtureDirectory("tiny-mla"), device: "cpu" });
  const [drain, shutdown] = [new AbortController(), new AbortController()];
  const served = change(engine.served);
  const grammars = createGrammars(served);
  const app = createApp(served, { drain: drain.signal, shutdown: shutdown.signal, maxBodyBytes: 100_000, grammars, ...options });
  return {
    app,
    served,
    drain,
    shutdown,
    post: async (path, body) =>
      await app.request(path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    close: async () => {
      grammars[Symbol.dispose]();
      await engine.close();
    },
  };
}

/** Data of every server-sent event. */
export async function readEvents(response: Response): Promise<string[]> {
  return (await response.text()).split("\n\n").filter((block) => block.startsWith("data: ")).map((block) => block.slice(6));
}
