/**
 * Cells and fronts as processes: cells, fronts and their registry are killed under load, cells are started anew one after the other, and prompts must find their beginnings.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { killCells, killFront, loseRegistry } from "./cells/faults.ts";
import { measureAffinity } from "./cells/prefixes.ts";
import { type Load, underLoad } from "./cells/streams.ts";
import { Fleet } from "./support/fleet.ts";
import { NATS_SERVER } from "./support/nats_server.ts";
import { printTable } from "./table.ts";

/** What `deno task bench` says of it. */
export const CELLS_HELP =
  "[--only kills,registry,drain,front,prefixes] [--kills 10] [--streams 64] [--seconds 20] [--prefixes 200] [--words 1200] [--topology 'ranks=2'|single] [--registry nats|file] 3 cells and 2 fronts as processes: what becomes of requests when cells, a front and the registry are killed";

const KINDS = ["kills", "registry", "drain", "front", "prefixes"];

/** Runs it; ends the process with 1 if a request was wrong, hung or failed that must not. */
export async function cellsBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: "string", default: KINDS.join(",") },
      kills: { type: "string", default: "10" },
      streams: { type: "string", default: "64" },
      seconds: { type: "string", default: "20" },
      prefixes: { type: "string", default: "200" },
      words: { type: "string", default: "1200" },
      topology: { type: "string", default: "ranks=2" },
      registry: { type: "string", default: NATS_SERVER === null ? "file" : "nats" },
    },
  });
  const only = values.only.split(",");
  const unknown = only.filter((kind) => !KINDS.includes(kind));
  if (unknown.length > 0) throw new Error(`--only ${unknown.join(",")}: ${KINDS.join(", ")}`);
  const nats = values.registry === "nats";
  if (nats && NATS_SERVER === null) throw new Error("there is no nats-server (apt-get install nats-server, or TEST_NATS_SERVER)");
  const say = (what: string) => console.error(what);
  // Every prompt of the prefixes must have room at the cell that has it.
  const tokens = Math.ceil(Number(values.prefixes) / 3 * 1.6 * 1800);
  const units = values.topology === "single" ? ["--single"] : ["--ranks", /^ranks=(\d+)$/.exec(values.topology)?.[1] ?? "2"];
  await using fleet = await Fleet.start({
    nats,
    cells: ["one", "two", "three"],
    fronts: 2,
    args: [...units, "--threads", "1", "--max-tokens-total", String(tokens)],
  });
  const rows: (string | number)[][] = [["what", "requests", "came of it"]];
  let bad = false;
  const loaded = (what: string, { asked, failures }: Load, more = "") => {
    bad ||= failures.length > 0;
    rows.push([what, asked, `${failures.length} failed${failures.length > 0 ? ` (${failures[0]})` : ""}${more}`]);
  };
  if (only.includes("kills")) {
    const { streams, right, errors, wrong, hung, continued, orphans } = await killCells(fleet, {
      kills: Number(values.kills),
      streams: Number(values.streams),
      say,
    });
    bad ||= wrong + hung + orphans > 0;
    const first = errors.length > 0 ? ` (${errors[0]})` : "";
    const cameOf = `${right} equal to those in peace, ${errors.length} errors${first}, ${wrong} wrong, ${hung} hung; ${continued} went on elsewhere`;
    rows.push([`kill -9 of a cell, ${values.kills} times`, streams, `${cameOf}; ${orphans} processes left after 5 s`]);
  }
  if (only.includes("registry") && nats) {
    for (const time of ["first", "second"]) {
      say(`NATS is gone for ${values.seconds} s, the ${time} time …`);
      const { cellsKept, ...load } = await loseRegistry(fleet, Number(values.seconds));
      loaded(`NATS killed for ${values.seconds} s, back with nothing`, load, `; fronts knew ${cellsKept} cells at least; all register again`);
    }
  }
  if (only.includes("drain")) {
    say("every cell is told to end, one after the other …");
    loaded("rolling drain of all cells", await underLoad(fleet.urls, () => fleet.roll()));
    await fleet.settled();
  }
  if (only.includes("front")) {
    say("a front is killed …");
    const { ends, idleAfter, other } = await killFront(fleet);
    bad ||= ends.some((end) => end !== "refused");
    loaded("kill -9 of a front", other, ` at the other one; its ${ends.length} streams broke, cells were idle ${Math.round(idleAfter)} ms later`);
  }
  if (only.includes("prefixes")) {
    await fleet.settled();
    const { prefixes, tokens, found, spread } = await measureAffinity(fleet, { prefixes: Number(values.prefixes), words: Number(values.words), say });
    const share = (100 * found / prefixes).toFixed(1);
    rows.push([
      `prompts of ${Math.round(tokens)} tokens again, at the other front`,
      prefixes,
      `${share} % found theirs; most loaded cell ${spread.toFixed(2)} of the mean`,
    ]);
  }
  console.log();
  printTable(rows);
  if (bad) Deno.exitCode = 1;
}
