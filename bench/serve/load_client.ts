/**
 * A client that loads a server with streaming completions, in a process of its own: reads a {@link Load} from stdin, writes one {@link Timing} per request.
 *
 * @module
 */

/** What to ask for. */
export interface Load {
  readonly url: string;
  readonly requests: readonly LoadRequest[];
}

/** One request. */
export interface LoadRequest {
  /** Milliseconds after the beginning. */
  readonly at: number;
  readonly prompt: string | readonly number[];
  readonly maxTokens: number;
}

/** When what came, in milliseconds after the request was sent. */
export interface Timing {
  readonly sentAt: number;
  /** Every event that brought tokens, and how many. */
  readonly tokens: readonly (readonly [at: number, count: number])[];
  readonly endedAt: number;
  readonly error: string | null;
}

async function measure(url: string, { prompt, maxTokens }: LoadRequest, began: number): Promise<Timing> {
  const started = performance.now();
  const tokens: [number, number][] = [];
  let error: string | null = null;
  try {
    const response = await fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true, stream: true, return_token_ids: true }),
    });
    if (!response.ok) error = `${response.status} ${await response.text()}`;
    else for await (const count of tokenCounts(response.body!)) tokens.push([performance.now() - started, count]);
  } catch (thrown) {
    error = String(thrown);
  }
  return { sentAt: started - began, tokens, endedAt: performance.now() - started, error };
}

async function* tokenCounts(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<number> {
  let held = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
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

/** A load in a process of its own. */
export class RunningLoad implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  /** What came of it; rejects where it was ended early. */
  readonly timings: Promise<Timing[]>;

  constructor(load: Load) {
    this.#child = new Deno.Command(Deno.execPath(), { args: ["run", "--allow-net", import.meta.url], stdin: "piped", stdout: "piped" }).spawn();
    this.timings = this.#run(load);
    this.timings.catch(() => {});
  }

  /** Ends it: all its clients go away. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill();
    } catch {
      // It has ended by itself.
    }
    await this.#child.status;
  }

  async #run(load: Load): Promise<Timing[]> {
    const writer = this.#child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(JSON.stringify(load)));
    await writer.close();
    return JSON.parse(new TextDecoder().decode((await this.#child.output()).stdout));
  }
}

/** Runs a load to its end. */
export async function runLoad(load: Load): Promise<Timing[]> {
  await using running = new RunningLoad(load);
  return await running.timings;
}

if (import.meta.main) {
  const { url, requests }: Load = await new Response(Deno.stdin.readable).json();
  const began = performance.now();
  const timings = await Promise.all(requests.map(async (request) => {
    await new Promise((resolve) => setTimeout(resolve, request.at));
    return await measure(url, request, began);
  }));
  console.log(JSON.stringify(timings));
}
