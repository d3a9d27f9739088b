/**
 * Fronts and cells: routing in a simulation of up to 10,000 cells, and what a front costs beside a bare reverse proxy.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { measureOverhead } from "./fleet/overhead.ts";
import { simulate } from "./fleet/simulate.ts";
import { median, percentile, printTable } from "./table.ts";

/** What `deno task bench` says of it. */
export const FLEET_HELP =
  "[--cells 10,100,1000,10000] [--requests 40000] [--fronts 2] [--streams 20] routing of skewed prefixes, simulated: hits, spread, decisions, registry; a front's overhead beside a bare proxy's";

/** Runs it. */
export async function fleetBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      cells: { type: "string", default: "10,100,1000,10000" },
      requests: { type: "string", default: "40000" },
      fronts: { type: "string", default: "2" },
      streams: { type: "string", default: "20" },
    },
  });
  const rows: (string | number)[][] = [["cells", "policy", "hits", "spread", "decision p50 µs", "p99 µs", "decisions/s", "registry MB/s (reckoned)"]];
  for (const cells of values.cells.split(",").map(Number)) {
    // As many prefixes as all cells can keep, so that each could have its own.
    const shared = { cells, fronts: Number(values.fronts), prefixes: 20 * cells, cached: 32, load: 24 };
    const requests = Math.max(Number(values.requests), 6 * cells * shared.load);
    for (const policy of ["front", "random"] as const) {
      const { hitRate, spread, decisions, registryBytes } = simulate({ ...shared, requests, policy });
      const own = policy === "front";
      const mean = decisions.reduce((sum, seconds) => sum + seconds, 0) / decisions.length;
      rows.push([
        cells,
        policy,
        `${(100 * hitRate).toFixed(1)} %`,
        spread.toFixed(2),
        own ? (1e6 * median(decisions)).toFixed(1) : "",
        own ? (1e6 * percentile(decisions, 0.99)).toFixed(1) : "",
        own ? Math.round(1 / mean) : "",
        own ? (registryBytes / 1e6).toFixed(2) : "",
      ]);
    }
  }
  printTable(rows);
  const times = await measureOverhead(Number(values.streams));
  const of = (name: keyof typeof times, what: "first" | "each") => median(times[name].map((one) => one[what]));
  console.log();
  printTable([
    ["one stream, ms (p50)", "first event", "over direct", "each event", "over direct"],
    ...(["direct", "proxy", "front"] as const).map((name) => [
      name,
      of(name, "first").toFixed(2),
      (of(name, "first") - of("direct", "first")).toFixed(2),
      of(name, "each").toFixed(3),
      (of(name, "each") - of("direct", "each")).toFixed(3),
    ]),
  ]);
}
