/**
 * What happens to cells, fronts and their registry, and what becomes of requests meanwhile.
 *
 * @module
 */
import { ask, type Outcome } from "../chaos/requests.ts";
import type { Fleet } from "../support/fleet.ts";
import { descendants, runs } from "../support/processes.ts";
import { until } from "../support/until.ts";
import { inTime, learn, type Load, STREAM, streamRequests, underLoad } from "./streams.ts";

/** Milliseconds after which nothing of a killed cell may run. */
const GRACE = 5000;
/** Milliseconds after which a stream hangs. */
const HANGS = 300_000;

/** What became of streams whose cells were killed. */
export interface Kills {
  readonly streams: number;
  /** Equal to what they are in peace. */
  readonly right: number;
  /** Errors, in words. */
  readonly errors: readonly string[];
  readonly wrong: number;
  readonly hung: number;
  /** Streams that went on at another cell. */
  readonly continued: number;
  /** Processes of killed cells that ran five seconds later. */
  readonly orphans: number;
}

/** Kills a cell with all it has started, or only its coordinator, in turn, in the middle of many streams. */
export async function killCells(
  fleet: Fleet,
  { kills, streams, say }: { kills: number; streams: number; say: (what: string) => void },
): Promise<Kills> {
  const requests = streamRequests(streams);
  say(`${streams} streams in peace …`);
  const expected = await learn(fleet.urls, requests);
  const before = await continuedOf(fleet);
  const errors: string[] = [];
  let [right, wrong, hung, orphans] = [0, 0, 0, 0];
  for (let kill = 0; kill < kills; kill++) {
    const asked = requests.map((request, i) => inTime(ask(fleet.urls[i % fleet.urls.length], request, STREAM), HANGS));
    // Somewhere between the first tokens and the last ones, another time in each round.
    const busiest = async () => (await fleet.cellsOf(fleet.urls[0])).toSorted((a, b) => b.requestsOfThisFront - a.requestsOfThisFront)[0];
    await until(async () => (await busiest()).requestsOfThisFront > 2);
    await new Promise((resolve) => setTimeout(resolve, 500 + 400 * (kill % 5)));
    const { id } = await busiest();
    const cell = fleet.cells.get(id)!;
    const started = await descendants(cell.child.pid);
    if (kill % 2 === 0) { for (const pid of started) killed(pid); }
    const ended = cell.end("SIGKILL");
    const left = new Promise<number>((resolve) =>
      setTimeout(async () => resolve((await Promise.all(started.map(runs))).filter((one) => one).length), GRACE)
    );
    await ended;
    fleet.startCell(id);
    const outcomes = await Promise.all(asked);
    orphans += await left;
    outcomes.forEach((outcome, i) => {
      if (outcome === "hung") hung++;
      else if (outcome.kind !== "answered") errors.push(JSON.stringify(outcome));
      else if (outcome.answer === expected[i]) right++;
      else wrong++;
    });
    await fleet.settled();
    say(`kill ${kill + 1} of ${kills}: ${right} right, ${errors.length} errors, ${wrong} wrong, ${hung} hung`);
  }
  return { streams: kills * streams, right, errors, wrong, hung, continued: await continuedOf(fleet) - before, orphans };
}

function killed(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

async function continuedOf({ urls }: Fleet): Promise<number> {
  const counts = await Promise.all(urls.map(async (url) => {
    const text = await (await fetch(`${url}/metrics`)).text();
    return Number(/failovers_total\{outcome="continued"\} (\d+)/.exec(text)?.[1] ?? 0);
  }));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Kills NATS for some seconds while requests go on; it comes back with nothing. */
export async function loseRegistry(fleet: Fleet, seconds: number): Promise<Load & { readonly cellsKept: number }> {
  let cellsKept = Infinity;
  const load = await underLoad(fleet.urls, async () => {
    await fleet.nats!.kill();
    const back = performance.now() + 1000 * seconds;
    while (performance.now() < back) {
      for (const url of fleet.urls) cellsKept = Math.min(cellsKept, (await fleet.cellsOf(url)).length);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    await fleet.nats!.start();
    await fleet.beaten();
  });
  return { ...load, cellsKept };
}

/** What became of a front's streams, and of cells, when it was killed. */
export interface FrontKill {
  /** How the streams ended, of which as many were begun. */
  readonly ends: readonly Outcome["kind"][];
  /** Milliseconds from the kill until no cell had anything to do. */
  readonly idleAfter: number;
  /** Whether the other front served all the while. */
  readonly other: Load;
}

/** Kills the first front in the middle of long streams, while the others serve. */
export async function killFront(fleet: Fleet): Promise<FrontKill> {
  const [url, ...others] = fleet.urls;
  const body = (i: number) => ({ prompt: [7, 8, 9 + i], max_tokens: 1500, ignore_eos: true, temperature: 0, return_token_ids: true });
  const streams = Array.from({ length: 8 }, (_, i) => ask(url, { path: "/v1/completions", body: body(i) }, STREAM));
  const active = async () => {
    const cells = await fleet.cellsOf(others[0]);
    const counts = await Promise.all(cells.map(async ({ url }) => (await (await fetch(`${url}/cluster`)).json()).scheduling.active as number));
    return counts.reduce((sum, count) => sum + count, 0);
  };
  await until(async () => await active() === streams.length);
  let idleAfter = 0;
  await fleet.fronts[0].end("SIGKILL");
  const began = performance.now();
  const ends = (await Promise.all(streams.map((stream) => inTime(stream, HANGS)))).map((outcome) => outcome === "hung" ? "left" : outcome.kind);
  await until(async () => await active() === 0);
  idleAfter = performance.now() - began;
  const other = await underLoad(others, () => new Promise((resolve) => setTimeout(resolve, 3000)));
  await fleet.replaceFront(0);
  return { ends, idleAfter, other };
}
