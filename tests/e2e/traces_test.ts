/**
 * Spans of a front and a cell, as the processes that they are, at a collector: one trace, which the client began.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { Running } from "../../bench/support/running.ts";
import { until } from "../../bench/support/until.ts";

/** A span, as exported in JSON (https://opentelemetry.io/docs/specs/otlp/). */
interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly status?: { readonly code?: number; readonly message?: string };
  readonly attributes: { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
}

const [SERVER, CLIENT] = [2, 3];
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";

describe("traces", () => {
  const spans: (Span & { readonly service: string })[] = [];
  let collector: Deno.HttpServer<Deno.NetAddr>;
  let directory: string;
  const processes: Running[] = [];
  let url: string;

  beforeAll(async () => {
    collector = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      const { resourceSpans = [] } = await request.json();
      for (const { resource, scopeSpans } of resourceSpans) {
        const service = resource.attributes.find(({ key }: { key: string }) => key === "service.name").value.stringValue;
        for (const { spans: some } of scopeSpans) spans.push(...some.map((span: Span) => ({ ...span, service })));
      }
      return Response.json({});
    });
    directory = await Deno.makeTempDir();
    const start = (service: string, ...args: string[]) => {
      const process = new Running([...args, "--port", "0", "--registry", `file:${directory}`], {
        OTEL_DENO: "true",
        OTEL_SERVICE_NAME: service,
        OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.addr.port}`,
        OTEL_BSP_SCHEDULE_DELAY: "100",
      });
      processes.push(process);
      return process.url();
    };
    await start("cell", "serve", "--device", "wasm", "--single", "--cell-id", "a");
    url = await start("front", "front");
    await until(async () => (await fetch(`${url}/readyz`).then(async (response) => (await response.body?.cancel(), response.ok))));
  });
  afterAll(async () => {
    await Promise.all(processes.map((process) => process.end()));
    await collector.shutdown();
    await Deno.remove(directory, { recursive: true });
  });

  const ask = (body: object, headers: Record<string, string> = {}) =>
    fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ messages: [{ role: "user", content: "Hello" }], max_tokens: 4, ...body }),
    });

  for (const stream of [false, true]) {
    it(`go from the client through front and cell to phases, ${stream ? "of streams" : "of whole answers"}`, async () => {
      const trace = TRACE.replace("0", stream ? "1" : "2");
      const response = await ask({ stream }, { traceparent: `00-${trace}-${PARENT}-01` });
      assertEquals(response.status, 200);
      await response.text();
      const own = () => spans.filter(({ traceId }) => traceId === trace);
      // A span is exported when it has ended.
      await until(() => own().some(({ name }) => name === "decode") && own().some(({ service, kind }) => service === "front" && kind === SERVER));
      const of = (service: string, kind: number) => own().filter((span) => span.service === service && span.kind === kind);
      await until(() => of("cell", SERVER).length > 0 && of("front", CLIENT).length > 1);
      const [[front], [cell]] = [of("front", SERVER), of("cell", SERVER)];
      // Which cell and why, and around that Deno's own span of what it fetches.
      const relay = of("front", CLIENT).find(({ name }) => name !== "POST")!;
      const fetched = of("front", CLIENT).find(({ name }) => name === "POST")!;
      const generate = own().find(({ name }) => name === "generate")!;
      const phases = own().filter(({ name }) => ["queue", "prefill", "decode"].includes(name));
      assertEquals(
        [front, relay, fetched, cell, generate, ...phases].map(({ parentSpanId }) => parentSpanId),
        [PARENT, front.spanId, relay.spanId, fetched.spanId, cell.spanId, ...phases.map(() => generate.spanId)],
      );
      assertEquals(phases.length, 3);
      assertEquals([front.name, relay.name, cell.name], new Array(3).fill("POST /v1/chat/completions"));
      const attribute = ({ attributes }: Span, name: string) => Object.values(attributes.find(({ key }) => key === name)?.value ?? {})[0];
      assertEquals([attribute(relay, "latentmesh.cell"), Number(attribute(front, "http.response.status_code"))], ["a", 200]);
      assertEquals(attribute(front, "latentmesh.request_id"), attribute(cell, "latentmesh.request_id"));
    });
  }

  it("say of clients that went away that they did", async () => {
    const trace = TRACE.replace("0", "3");
    const leave = new AbortController();
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", traceparent: `00-${trace}-${PARENT}-01` },
      body: JSON.stringify({ messages: [{ role: "user", content: "Hello" }], max_tokens: 1500, ignore_eos: true, stream: true }),
      signal: leave.signal,
    });
    const reader = response.body!.getReader();
    await reader.read();
    leave.abort();
    await reader.closed.catch(() => {});
    await until(() => spans.some(({ traceId, service, kind }) => traceId === trace && service === "front" && kind === SERVER));
    const front = spans.find(({ traceId, service, kind }) => traceId === trace && service === "front" && kind === SERVER)!;
    assertEquals(front.status, { code: 2, message: "the client went away" });
    assert(spans.every(({ name }) => !name.includes("?")));
  });
});
