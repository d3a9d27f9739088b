/**
 * Cells and fronts of one process: several HTTP servers over one engine, in a registry that a test writes.
 *
 * @module
 */
import { afterAll, beforeAll, describe } from "@std/testing/bdd";
import type { Hono } from "hono";
import { createFrontApp, type FrontAppOptions } from "../../cluster/front/front_app.ts";
import { RunningFront } from "../../cluster/front/running_front.ts";
import type { SilenceTimes } from "../../cluster/front/silence.ts";
import type { AppOptions } from "../../cluster/http/app.ts";
import { createApp } from "../../cluster/http/app.ts";
import { HttpServer } from "../../cluster/http/server/http_server.ts";
import type { CellIdentity } from "../../cluster/http/relay/relayed_request.ts";
import type { AppEnv } from "../../cluster/http/server_context.ts";
import { createGrammars } from "../../cluster/text/model_grammars.ts";
import type { TokenEngine, TokenEvent, TokenRequest } from "../../core/engine.ts";
import { cancellation } from "../../core/errors.ts";
import type { CellRecord } from "../../core/registry/cell_record.ts";
import type { CellRegistry, CellWatch } from "../../core/registry/registry.ts";
import { cellRecord } from "../../bench/support/cell_records.ts";
import { openTestApp, type TestApp } from "../../bench/support/server.ts";

/** An engine that a test stops where it likes. */
class StallingEngine implements TokenEngine {
  readonly ready = true;
  readonly maxContext: number;
  /** Tokens after which requests stand still, each for itself; null: they do not. */
  stallAfter: number | null = null;
  /** What a request that would stand still throws instead. */
  failure: Error | null = null;
  readonly requests: TokenRequest[] = [];
  #stalled = Promise.withResolvers<void>();
  readonly #engine: TokenEngine;

  constructor(engine: TokenEngine) {
    this.#engine = engine;
    this.maxContext = engine.maxContext;
  }

  /** Resolves when a request stands still. */
  get stalled(): Promise<void> {
    return this.#stalled.promise;
  }

  async generate(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    this.requests.push(request);
    const most = this.stallAfter;
    let tokens = 0;
    if (most === 0) await this.#stall(request);
    await this.#engine.generate(request, (event) => {
      if (most !== null && tokens >= most && (event.kind === "token" || event.kind === "finish")) return;
      if (event.kind === "token") tokens++;
      emit(event);
    });
    if (most !== null) await this.#stall(request);
  }

  async #stall({ signal }: TokenRequest): Promise<void> {
    this.#stalled.resolve();
    this.#stalled = Promise.withResolvers();
    if (this.failure !== null) throw this.failure;
    await new Promise((_, reject) => {
      if (signal.aborted) reject(cancellation(signal));
      signal.addEventListener("abort", () => reject(cancellation(signal)), { once: true });
    });
  }
}

/** A cell. */
export class TestCell implements AsyncDisposable {
  readonly id: string;
  readonly engine: StallingEngine;
  readonly url: string;
  readonly spilled: string[] = [];
  /** What its tokens depend on. */
  identity: CellIdentity = { weights: "w", fingerprint: "f" };
  /** Heads of requests. */
  readonly heads: Headers[] = [];
  readonly #server: HttpServer;
  readonly #grammars: { [Symbol.dispose](): void };

  /** @param change of what its app is told */
  constructor(id: string, { served, text, drain, shutdown }: TestApp, change: Partial<AppOptions> = {}) {
    this.id = id;
    this.engine = new StallingEngine(served.engine);
    const model = { ...served, engine: this.engine };
    const grammars = this.#grammars = createGrammars(model);
    const app = createApp(() => ({ model, grammars, text }), {
      drain: drain.signal,
      shutdown: shutdown.signal,
      fronts: { key: null, onSpilled: (key) => this.spilled.push(key), identity: () => this.identity },
      ...change,
    });
    this.#server = HttpServer.listen({ hostname: "127.0.0.1", port: 0, limits: { total: 4096, perAddress: 4096 } }, (request) => {
      this.heads.push(request.headers);
      return app.fetch(request);
    });
    this.url = `http://127.0.0.1:${this.#server.address.port}`;
  }

  record(change: Partial<CellRecord> = {}): CellRecord {
    return cellRecord({ id: this.id, url: this.url, maxContext: this.engine.maxContext, ...this.identity, ...change });
  }

  /** Breaks all connections, and accepts no more. */
  die(): void {
    void this.#server.shutdown();
    this.#server.cut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.cut();
    await this.#server.shutdown();
    this.#grammars[Symbol.dispose]();
  }
}

/** A registry in which a test says what there is. */
export class TestRegistry implements CellRegistry {
  readonly name = "test:";
  #cells: readonly CellRecord[] = [];
  readonly #listeners = new Set<() => void>();

  set(cells: readonly CellRecord[]): void {
    this.#cells = cells;
    for (const tell of this.#listeners) tell();
  }

  register(): never {
    throw new Error("a test says what is registered");
  }

  watch(onChange: () => void): Promise<CellWatch> {
    this.#listeners.add(onChange);
    const cells = () => this.#cells;
    const close = () => {
      this.#listeners.delete(onChange);
      return Promise.resolve();
    };
    return Promise.resolve({
      get cells() {
        return cells();
      },
      age: 0,
      close,
      [Symbol.asyncDispose]: close,
    });
  }
}

/** A front over HTTP. */
export interface TestFront extends AsyncDisposable {
  readonly url: string;
  readonly app: Hono<AppEnv>;
  readonly running: RunningFront;
  readonly shutdown: AbortController;
  /** Breaks all connections, as the end of the process does. */
  cut(): void;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
}

/** Opens a front. */
export async function openFront(
  registry: CellRegistry,
  change: Partial<FrontAppOptions> = {},
  { key, times }: { readonly key?: string; readonly times?: SilenceTimes } = {},
): Promise<TestFront> {
  const running = await RunningFront.start(registry, { key, times });
  const shutdown = new AbortController();
  const app = createFrontApp({
    context: running.context,
    registryAge: () => running.registryAge,
    registry: registry.name,
    drain: new AbortController().signal,
    shutdown: shutdown.signal,
    ...change,
  });
  const server = HttpServer.listen({ hostname: "127.0.0.1", port: 0, limits: { total: 4096, perAddress: 4096 } }, (request) => app.fetch(request));
  const url = `http://127.0.0.1:${server.address.port}`;
  return {
    url,
    app,
    running,
    shutdown,
    cut: () => server.cut(),
    post: async (path, body, headers = {}) =>
      await fetch(`${url}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    async [Symbol.asyncDispose]() {
      server.cut();
      await server.shutdown();
      await running.close();
    },
  };
}

/** A cell that answers as a test says. */
export class ScriptedCell implements AsyncDisposable {
  readonly id: string;
  readonly url: string;
  /** Paths of requests that it has got, but questions whether it is there. */
  readonly asked: string[] = [];
  readonly #server: Deno.HttpServer;

  constructor(id: string, answer: (request: Request) => Response | Promise<Response>) {
    this.id = id;
    // What tests break off is no news.
    const options = { hostname: "127.0.0.1", port: 0, onListen() {}, onError: () => new Response(null, { status: 500 }) };
    const server = Deno.serve(options, (request) => {
      const { pathname } = new URL(request.url);
      if (pathname !== "/healthz") this.asked.push(pathname);
      return answer(request);
    });
    this.#server = server;
    this.url = `http://127.0.0.1:${server.addr.port}`;
  }

  record(change: Partial<CellRecord> = {}): CellRecord {
    return cellRecord({ id: this.id, url: this.url, weights: "w", fingerprint: "f", ...change });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** A stream of these events. */
export function eventStream(...events: readonly string[]): Response {
  return new Response(events.map((event) => `${event}\n\n`).join(""), { headers: { "content-type": "text/event-stream" } });
}

/** Where chats are asked for. */
export const CHAT = "/v1/chat/completions";
/** A conversation. */
export const MESSAGES = [{ role: "user", content: "What is a kettle?" }];

/** A short chat, so changed. */
export function chat(change: object = {}): Record<string, unknown> {
  return { messages: MESSAGES, temperature: 0, max_tokens: 4, ...change };
}

/** The status of an answer of which nothing else is wanted. */
export async function statusOf(asked: Promise<Response>): Promise<number> {
  const response = await asked;
  await response.body!.cancel();
  return response.status;
}

/** Cells, what registers them, and a front. */
export interface TestCells {
  readonly cells: TestCell[];
  readonly registry: TestRegistry;
  readonly front: TestFront;
  /** Registers all cells anew, so changed. */
  readonly beat: (change?: (cell: TestCell) => Partial<CellRecord>) => void;
}

/** Runs `work` with cells of these ids and a front before them. */
export type WithCells = (ids: readonly string[], work: (parts: TestCells) => Promise<void>) => Promise<void>;

/** Tests with cells over one app, whose cells are of the ids that each of them says. */
export function describeCells(name: string, body: (withCells: WithCells, test: () => TestApp) => void): void {
  describe(name, () => {
    let test: TestApp;
    beforeAll(async () => void (test = await openTestApp()));
    afterAll(() => test.close());
    body((ids, work) => openCells(test, ids, work), () => test);
  });
}

async function openCells(test: TestApp, ids: readonly string[], work: (parts: TestCells) => Promise<void>): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const cells = ids.map((id) => stack.use(new TestCell(id, test)));
  const registry = new TestRegistry();
  let beats = 0;
  const beat: TestCells["beat"] = (change = () => ({})) => {
    beats++;
    registry.set(cells.map((cell) => cell.record({ beat: beats, ...change(cell) })));
  };
  beat();
  const front = stack.use(await openFront(registry));
  await work({ cells, registry, front, beat });
}
