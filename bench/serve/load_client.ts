/**
 * A client that loads a server with streaming completions, in a process of its own: reads a {@link Load} from stdin, writes what becomes of it as
 * {@link LoadEvent}s, one a line, and ends early where stdin does.
 *
 * @module
 */
import { abortableFetch } from "../../core/net/abortable_fetch.ts";
import type { Speculation } from "../../core/speculation/speculation.ts";
import { linesOf } from "../lines.ts";

/** What to ask for. */
export interface Load {
  readonly url: string;
  readonly requests: readonly LoadRequest[];
  /** Tokens that every request is to get when all of them have begun; where it is given, all end when whoever listens has stopped the load. */
  readonly together?: number;
}

/** One request. */
export interface LoadRequest {
  /** Milliseconds after the beginning. */
  readonly at: number;
  /** Tokens that all requests that wait for none have when this one is sent, instead of at a time. */
  readonly after?: number;
  readonly prompt: string | readonly number[];
  readonly maxTokens: number;
  /** Default: 0. */
  readonly temperature?: number;
  readonly seed?: number;
  /** Default: as the server is set. */
  readonly speculate?: Speculation;
  /** Tokens that the answer may be like. */
  readonly prediction?: readonly number[];
}

/** When what came, in milliseconds after the request was sent. */
export interface Timing {
  readonly sentAt: number;
  /** Every event that brought tokens, and how many. */
  readonly tokens: readonly (readonly [at: number, count: number])[];
  readonly endedAt: number;
  readonly error: string | null;
}

/** What a load tells while it runs. */
export type LoadEvent =
  /** How many requests have got a token, and how many tokens all have. */
  | { readonly kind: "progress"; readonly begun: number; readonly tokens: number }
  /** All have got a token. */
  | { readonly kind: "running" }
  /** All have got {@link Load.together} tokens more. */
  | { readonly kind: "measured" }
  /** One that was sent after others had tokens has ended. */
  | { readonly kind: "ended" }
  | { readonly kind: "done"; readonly timings: readonly Timing[] };

/** Milliseconds between two reports of progress. */
const PROGRESS_INTERVAL = 200;

/** A load in a process of its own. */
export class RunningLoad implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #onEvent: (event: Exclude<LoadEvent, { kind: "done" }>) => void;
  /** What came of it; rejects where it was ended early. */
  readonly timings: Promise<readonly Timing[]>;

  constructor(load: Load, onEvent: (event: Exclude<LoadEvent, { kind: "done" }>) => void = () => {}) {
    this.#onEvent = onEvent;
    this.#child = new Deno.Command(Deno.execPath(), { args: ["run", "--allow-net", import.meta.url], stdin: "piped", stdout: "piped" }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.timings = this.#run(load);
    this.timings.catch(() => {});
  }

  /** Ends all requests; {@link timings} says how far they came. */
  async stop(): Promise<void> {
    await this.#stdin.close().catch(() => {});
  }

  /** Ends it: all its clients go away. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    try {
      this.#child.kill();
    } catch {
      // It has ended by itself.
    }
    await this.#child.status;
    await this.timings.catch(() => {});
  }

  async #run(load: Load): Promise<readonly Timing[]> {
    const [timings] = await Promise.all([this.#read(), this.#stdin.write(new TextEncoder().encode(JSON.stringify(load) + "\n"))]);
    return timings;
  }

  async #read(): Promise<readonly Timing[]> {
    for await (const line of linesOf(this.#child.stdout)) {
      const event: LoadEvent = JSON.parse(line);
      if (event.kind === "done") return event.timings;
      this.#onEvent(event);
    }
    throw new Error("The load was ended");
  }
}

/** Runs a load to its end. */
export async function runLoad(load: Load): Promise<readonly Timing[]> {
  await using running = new RunningLoad(load);
  return await running.timings;
}

/** One request that runs. */
class Client {
  readonly #tokens: [number, number][] = [];
  #count = 0;
  /** Tokens that it had when all had begun. */
  #before = 0;
  #ended = false;

  get ended(): boolean {
    return this.#ended;
  }

  /** How many tokens it has got. */
  get count(): number {
    return this.#count;
  }

  /** How many of them since {@link allBegun}. */
  get since(): number {
    return this.#count - this.#before;
  }

  allBegun(): void {
    this.#before = this.#count;
  }

  async run(
    url: string,
    { prompt, maxTokens, temperature = 0, seed, speculate, prediction }: LoadRequest,
    { began, signal, onTokens }: { readonly began: number; readonly signal: AbortSignal; onTokens(): void },
  ): Promise<Timing> {
    const started = performance.now();
    let error: string | null = null;
    try {
      const response = await abortableFetch(`${url}/v1/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          prompt,
          max_tokens: maxTokens,
          temperature,
          seed,
          speculate,
          prediction: prediction && { type: "content", content: prediction },
          ignore_eos: true,
          stream: true,
          return_token_ids: true,
        }),
        signal,
      });
      if (!response.ok) error = `${response.status} ${await response.text()}`;
      else {
        for await (const count of tokenCounts(response.body!, signal)) {
          this.#tokens.push([performance.now() - started, count]);
          this.#count += count;
          onTokens();
        }
      }
    } catch (thrown) {
      if (!signal.aborted) error = String(thrown);
    }
    this.#ended = true;
    return { sentAt: started - began, tokens: this.#tokens, endedAt: performance.now() - started, error };
  }
}

/** @param signal ends it: of 80 requests that share a signal, Deno (2.9.6) ends none by itself once the garbage was collected */
async function* tokenCounts(body: ReadableStream<Uint8Array<ArrayBuffer>>, signal: AbortSignal): AsyncGenerator<number> {
  let held = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  signal.addEventListener("abort", () => void reader.cancel().catch(() => {}), { once: true });
  while (true) {
    const { done, value: text } = await reader.read();
    if (done) return;
    held += text;
    const events = held.split("\n\n");
    held = events.pop()!;
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const parsed = JSON.parse(data);
      if (parsed.error) throw new Error(parsed.error.message);
      const count = parsed.choices[0]?.token_ids?.length ?? 0;
      if (count > 0) yield count;
    }
  }
}

function tell(event: LoadEvent): void {
  console.log(JSON.stringify(event));
}

/** Runs all requests of a load. @param signal ends them */
async function run({ url, requests, together }: Load, signal: AbortSignal): Promise<Timing[]> {
  const began = performance.now();
  const clients = requests.map(() => new Client());
  let told = 0;
  const timer = setInterval(() => {
    const tokens = clients.reduce((sum, { count }) => sum + count, 0);
    if (tokens > told) tell({ kind: "progress", begun: clients.filter(({ count }) => count > 0).length, tokens });
    told = tokens;
  }, PROGRESS_INTERVAL);
  let phase: "beginning" | "running" | "measured" = "beginning";
  const onTokens = () => {
    if (phase === "beginning" && clients.every(({ count }) => count > 0)) {
      phase = "running";
      for (const client of clients) client.allBegun();
      tell({ kind: "running" });
    }
    if (phase === "running" && together !== undefined && clients.every(({ since }) => since >= together)) {
      phase = "measured";
      tell({ kind: "measured" });
    }
  };
  const leading = clients.filter((_, i) => requests[i].after === undefined);
  let failed = false;
  const short = (least: number) => leading.filter(({ count }) => count < least);
  const due = async ({ at, after }: LoadRequest) => {
    if (after === undefined) return await new Promise((resolve) => setTimeout(resolve, at));
    while (short(after).length > 0 && !failed && !signal.aborted) {
      if (short(after).some(({ ended }) => ended)) throw new Error(`A request ended with fewer than ${after} tokens, for which another waits`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  const timings = await Promise.all(requests.map(async (request, i) => {
    await due(request);
    const timing = await clients[i].run(url, request, { began, signal, onTokens });
    failed ||= timing.error !== null;
    if (request.after !== undefined) tell({ kind: "ended" });
    return timing;
  }));
  clearInterval(timer);
  return timings;
}

if (import.meta.main) {
  const stopped = new AbortController();
  const lines = linesOf(Deno.stdin.readable);
  const load: Load = JSON.parse((await lines.next()).value!);
  void lines.next().then(() => stopped.abort());
  tell({ kind: "done", timings: await run(load, stopped.signal) });
  Deno.exit(0);
}
