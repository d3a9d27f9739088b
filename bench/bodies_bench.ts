/**
 * What requests of a megabyte and a half that come at once do to running streams, over HTTP: the longest that a stream stands still, beside what it does by itself.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { type LoadRequest, runLoad, RunningLoad } from "./serve/load_client.ts";
import { Random } from "./support/random.ts";
import { median, printTable } from "./table.ts";
import { BenchServer } from "./whole/server.ts";

/** Tokens that every stream has before what counts. */
const SETTLED = 20;
/** Milliseconds between the beginning of the streams' steps and the large requests. */
const BEFORE = 500;

/** What streams saw. */
interface Gaps {
  readonly median: number;
  readonly longest: number;
}

/** Runs the bench. */
export async function bodiesBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "auto" },
      streams: { type: "string", default: "16" },
      context: { type: "string", default: "1540" },
      tokens: { type: "string", default: "150" },
      requests: { type: "string", default: "20" },
      bytes: { type: "string", default: "1500000" },
      runs: { type: "string", default: "5" },
    },
  });
  const [streams, context, tokens, requests, bytes, runs] = [
    values.streams,
    values.context,
    values.tokens,
    values.requests,
    values.bytes,
    values.runs,
  ].map(Number);
  if (!(tokens > 2 * SETTLED)) throw new Error(`--tokens: more than ${2 * SETTLED} are needed`);
  const random = new Random(1);
  const stop = new AbortController();
  // Streams that need more cache than there is are taken out for a while, large requests or not.
  const config = {
    device: values.device as "auto",
    cache: { maxTokens: streams * (context + tokens + 64) },
    server: { port: 0, shutdownTimeout: 1 },
  };
  await using server = await BenchServer.start(config, { single: false, deviceTimes: false, signal: stop.signal });
  console.log(`${(await server.status())?.summary}\n`);
  // The same each time, so that prompts are cached.
  const load = Array.from({ length: streams }, (_, i) => request(random, 40 + Math.round((context - 40) * i / Math.max(1, streams - 1)), tokens));
  const table: (readonly [Gaps, Gaps])[] = [];
  const letters = textOf(random, bytes);
  // Everything has run once before it is timed.
  await streamsBeside(server.url, load, []);
  for (let run = 0; run < runs; run++) {
    const alone = await streamsBeside(server.url, load, []);
    table.push([alone, await streamsBeside(server.url, load, Array.from({ length: requests }, () => ({ at: 0, prompt: letters, maxTokens: 4 })))]);
  }
  const status = await server.status();
  const restarts = status?.units.flatMap(({ workers }) => workers).reduce((sum, worker) => sum + worker.restarts, 0);
  const show = ({ median, longest }: Gaps) => [`${median.toFixed(1)} ms`, `${longest.toFixed(1)} ms (${(longest / median).toFixed(2)})`];
  printTable([
    ["run", "gap alone", "longest", `beside ${requests} of ${(bytes / 1e6).toFixed(1)} MB`, "longest"],
    ...table.map(([alone, beside], i) => [String(i + 1), ...show(alone), ...show(beside)]),
  ]);
  const ratio = (of: 0 | 1) => median(table.map((row) => row[of].longest / row[of].median)).toFixed(2);
  console.log(`\nlongest gaps are ${ratio(0)} times the median alone, ${ratio(1)} beside them (medians of runs); workers started again: ${restarts}`);
}

/** Streams to their end; large requests come soon after all of them have begun. */
async function streamsBeside(url: string, requests: readonly LoadRequest[], large: readonly LoadRequest[]): Promise<Gaps> {
  const answered = Promise.withResolvers<void>();
  answered.promise.catch(() => {});
  let over = large.length === 0;
  if (over) answered.resolve();
  await using load = new RunningLoad({ url, requests }, ({ kind }) => {
    if (kind !== "running" || large.length === 0) return;
    setTimeout(() => runLoad({ url, requests: large }).then(() => over = true).then(() => answered.resolve(), answered.reject), BEFORE);
  });
  const timings = await load.timings;
  const failed = timings.find(({ error }) => error !== null);
  if (failed !== undefined) throw new Error(`A stream failed: ${failed.error}`);
  if (!over) throw new Error("The streams ended before the large requests were answered: give them more --tokens");
  await answered.promise;
  // Before all have settled, prompts are computed beside those that run.
  const settled = Math.max(...timings.map(({ sentAt, tokens }) => sentAt + tokens[SETTLED][0]));
  const ended = Math.min(...timings.map(({ sentAt, endedAt }) => sentAt + endedAt));
  const gaps = timings.flatMap(({ sentAt, tokens }) => {
    const counted = tokens.filter(([at]) => sentAt + at >= settled && sentAt + at <= ended);
    // Tokens that are parts of one character come together when it is whole: that gap is as many steps as there are tokens, and says nothing of any of them.
    return counted.slice(1).flatMap(([at, count], i) => count === 1 ? [at - counted[i][0]] : []);
  });
  return { median: median(gaps), longest: Math.max(...gaps) };
}

function request(random: Random, tokens: number, maxTokens: number): LoadRequest {
  return { at: 0, prompt: Array.from({ length: tokens }, () => 300 + random.below(5000)), maxTokens, temperature: 1, seed: 1 };
}

function textOf(random: Random, bytes: number): string {
  const letters = "abcdefghijklmnopqrstuvwxyz ";
  return Array.from({ length: bytes }, () => letters[random.below(letters.length)]).join("");
}
