/**
 * The product on a machine without a GPU, as a user meets it: `serve` as it chooses by itself, and the engine with one and with many sequences.
 *
 * @module
 */
import { Engine } from "../../cluster/local_engine.ts";
import type { TokenRequest } from "../../core/engine.ts";
import { GREEDY } from "../../core/sampling/params.ts";
import { startServerWith } from "../support/process.ts";
import { runLoad } from "../serve/load_client.ts";
import { median } from "../table.ts";

const TOKENS = 300;

/** `serve` from its start. */
export interface ServedTimes {
  /** Seconds to the first token of the first request. */
  readonly firstToken: number;
  /** Tokens a second of one stream after that, warm. */
  readonly decode: number;
}

/** @param flags what `serve` is told */
export async function timeServe(runs: number, flags: readonly string[]): Promise<readonly ServedTimes[]> {
  const all: ServedTimes[] = [];
  for (let run = 0; run < runs; run++) {
    const began = performance.now();
    const server = await startServerWith({}, ...flags);
    const request = (tokens: number) => ({ at: 0, prompt: [0, 101, 102, 103], maxTokens: tokens, temperature: 1, seed: run });
    await runLoad({ url: server.url, requests: [request(1)] });
    const firstToken = (performance.now() - began) / 1000;
    await runLoad({ url: server.url, requests: [request(TOKENS)] });
    const [{ tokens, error }] = await runLoad({ url: server.url, requests: [request(TOKENS)] });
    if (error !== null) throw new Error(error);
    const [[first], last] = [tokens[0], tokens.at(-1)!];
    all.push({ firstToken, decode: (tokens.reduce((sum, [, count]) => sum + count, 0) - tokens[0][1]) / (last[0] - first) * 1000 });
    await server.stop();
  }
  return all;
}

/** Tokens a second of `serve` as it chooses with so many streams at once, the median of three runs after one that warms it up. */
export async function timeStreams(batches: readonly number[]): Promise<ReadonlyMap<number, number>> {
  const server = await startServerWith({}, "--speculate", "off");
  const speeds = new Map<number, number>();
  for (const batch of batches) {
    const speed: number[] = [];
    for (let run = 0; run < 4; run++) {
      const requests = Array.from(
        { length: batch },
        (_, i) => ({ at: 0, prompt: [0, 100 + i, 200, 300], maxTokens: TOKENS, temperature: 1, seed: 16 * run + i }),
      );
      const times = (await runLoad({ url: server.url, requests })).map(({ sentAt, tokens, error }) => {
        if (error !== null) throw new Error(error);
        return tokens.map(([at, count]) => [sentAt + at, count]);
      });
      // While all of them run.
      const [from, to] = [Math.max(...times.map((all) => all[0][0])), Math.min(...times.map((all) => all.at(-1)![0]))];
      const tokens = times.flat().reduce((sum, [at, count]) => at > from && at <= to ? sum + count : sum, 0);
      if (run > 0) speed.push(tokens / (to - from) * 1000);
    }
    speeds.set(batch, median(speed));
  }
  await server.stop();
  return speeds;
}

/** Tokens a second of an engine with so many sequences at once. */
export async function timeEngine(model: string, batches: readonly number[]): Promise<ReadonlyMap<number, number>> {
  const engine = await Engine.load({ model, device: "wasm", speculate: "off", maxBatch: Math.max(...batches) });
  const speeds = new Map<number, number>();
  for (const batch of batches) {
    const speed: number[] = [];
    for (let run = 0; run < 4; run++) {
      let [tokens, began] = [0, 0];
      const controllers = Array.from({ length: batch }, () => new AbortController());
      const running = new Set<number>();
      let ended = 0;
      await Promise.all(controllers.map(async ({ signal }, i) => {
        const events = (event: { readonly kind: string }) => {
          if (event.kind !== "token") return;
          running.add(i);
          if (running.size < batch || ended > 0) return;
          if (began === 0) began = performance.now();
          else if (++tokens === TOKENS * batch / 4) {
            ended = performance.now();
            controllers.forEach((controller) => controller.abort());
          }
        };
        await engine.served.engine.generate(request(i, signal), events).catch(() => {});
      }));
      if (run > 0) speed.push(tokens / (ended - began) * 1000);
    }
    speeds.set(batch, median(speed));
  }
  await engine.close();
  return speeds;
}

function request(i: number, signal: AbortSignal): TokenRequest {
  const sampling = { ...GREEDY, temperature: 1, seed: i };
  return {
    prompt: [0, 100 + i, 200, 300],
    maxTokens: 1500,
    sampling,
    choice: 0,
    stopTokens: new Set(),
    logprobs: null,
    promptLogprobs: null,
    signal,
  };
}
