/**
 * What a front adds to a stream, beside a bare reverse proxy: time to the first event, and time for each event. Everything is in this process, so that processor time is
 * what is measured.
 *
 * @module
 */
import { setImmediate, setTimeout } from "node:timers/promises";
import { createFrontApp } from "../../cluster/front/front_app.ts";
import { RunningFront } from "../../cluster/front/running_front.ts";
import { HttpServer } from "../../cluster/http/server/http_server.ts";
import type { CellRegistry } from "../../core/registry/registry.ts";
import { cellRecord } from "../support/cell_records.ts";

/** Milliseconds of one stream. */
export interface StreamTimes {
  readonly first: number;
  /** Mean of the events after the first. */
  readonly each: number;
}

/** Besides the last one. */
const EVENTS = 1000;
const DONE = "data: [DONE]\n\n";
/** Milliseconds between the first event and the others. */
const PAUSE = 30;
const LIMITS = { total: 100, perAddress: 100 };
const BODY = JSON.stringify({ messages: [{ role: "user", content: "What is a kettle? ".repeat(300) }], stream: true });
const HEADERS = { "content-type": "application/json" };

/** Times of streams from a cell, through a bare proxy and through a front, in turn. */
export async function measureOverhead(streams: number): Promise<Readonly<Record<"direct" | "proxy" | "front", readonly StreamTimes[]>>> {
  await using stack = new AsyncDisposableStack();
  const listen = (handler: (request: Request) => Response | Promise<Response>) => {
    const server = HttpServer.listen({ hostname: "127.0.0.1", port: 0, limits: LIMITS }, handler);
    stack.defer(async () => {
      server.cut();
      await server.shutdown();
    });
    return `http://127.0.0.1:${server.address.port}`;
  };
  const direct = listen(events);
  const proxy = listen(async (request) => {
    const response = await fetch(`${direct}${new URL(request.url).pathname}`, {
      method: "POST",
      headers: HEADERS,
      body: await request.arrayBuffer(),
    });
    return new Response(response.body, { headers: { "content-type": "text/event-stream" } });
  });
  const running = stack.use(await RunningFront.start(registryOf(direct), { key: undefined }));
  const signal = new AbortController().signal;
  const app = createFrontApp({ context: running.context, registryAge: () => 0, registry: "bench:", drain: signal, shutdown: signal });
  const front = listen((request) => app.fetch(request));
  const times = { direct: [] as StreamTimes[], proxy: [] as StreamTimes[], front: [] as StreamTimes[] };
  for (let i = -3; i < streams; i++) {
    for (const [name, url] of Object.entries({ direct, proxy, front })) {
      const measured = await measure(url);
      if (i >= 0) times[name as keyof typeof times].push(measured);
    }
  }
  return times;
}

/** As a cell answers a front: events with notes, one at each turn of the event loop. */
async function events(request: Request): Promise<Response> {
  await request.arrayBuffer();
  const noted = request.headers.has("x-latentmesh-relay");
  const encoder = new TextEncoder();
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      // The first one is on its way by itself; then they come as fast as they are taken.
      await (sent === 1 ? setTimeout(PAUSE) : setImmediate());
      if (sent === EVENTS) {
        controller.enqueue(encoder.encode(DONE));
        return controller.close();
      }
      const choice = { index: 0, delta: { content: " word" }, logprobs: null, finish_reason: null };
      const data = JSON.stringify({
        id: "chatcmpl-00000000",
        created: 1_700_000_000,
        model: "m",
        object: "chat.completion.chunk",
        choices: [choice],
      });
      controller.enqueue(encoder.encode(`${noted ? `${sent === 0 ? ":seed 1\n" : ""}:tokens 0=${sent}\n` : ""}data: ${data}\n\n`));
      sent++;
    },
  }, { highWaterMark: 0 });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

/** @throws {Error} unless the whole stream has come */
async function measure(url: string): Promise<StreamTimes> {
  const began = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers: HEADERS, body: BODY });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let [text, first] = ["", 0];
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    if (text === "") first = performance.now();
    text += read.value;
  }
  const ended = performance.now();
  const events = text.split("\n\n").filter((event) => event.startsWith("data: {")).length;
  if (response.status !== 200 || events !== EVENTS || !text.endsWith(DONE)) {
    throw new Error(`${url} answered ${response.status} with ${events} events of ${EVENTS}: ${text.slice(0, 200)}`);
  }
  return { first: first - began, each: (ended - first - PAUSE) / EVENTS };
}

function registryOf(url: string): CellRegistry {
  const record = cellRecord({ url });
  const close = () => Promise.resolve();
  return {
    name: "bench:",
    register: () => Promise.reject(new Error("nobody registers here")),
    watch: () => Promise.resolve({ cells: [record], age: 0, close, [Symbol.asyncDispose]: close }),
  };
}
