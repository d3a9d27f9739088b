/**
 * What the page makes of `/cluster`: who did what since the last time, where it is drawn, and what is said of it.
 */
import fc from "npm:fast-check@4.10.2";
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { flowsBetween } from "../../../../cluster/http/dashboard/cluster/flows.js";
import { layOut } from "../../../../cluster/http/dashboard/cluster/layout.js";
import { devicesOf } from "../../../../cluster/http/dashboard/cluster/memory.js";
import { clusterValues, Recent } from "../../../../cluster/http/dashboard/cluster/recent.js";
import { agoText, bytesText, deviceOf, incidentText, stateOf } from "../../../../cluster/http/dashboard/cluster/words.js";
import { SEED } from "../../../../bench/support/random.ts";

interface Totals {
  collectives?: number;
  handoffBytes?: number;
  prefill?: number;
  decode?: number;
  phase?: string | null;
}

function place(
  rank: number,
  { collectives = 0, handoffBytes = 0, prefill = 0, decode = 0, phase = null }: Totals = {},
  host = "local",
  gpu: number | null = null,
) {
  return {
    rank,
    host,
    gpu,
    kind: gpu === null ? "wasm" : "deno",
    device: "a device",
    worker: "w/1",
    restarts: 0,
    stats: {
      collectives,
      handoffBytes,
      phase,
      weightBytes: 1000,
      cacheBytesPerToken: 2,
      parts: { prefill: { steps: prefill }, decode: { steps: decode } },
    },
  };
}

const cache = { blocks: 10, available: 7, published: 2 };
/** A worker, or the place of one that is gone. */
type Place = Omit<ReturnType<typeof place>, "worker" | "stats"> & { worker: string | null; stats: ReturnType<typeof place>["stats"] | null };

const unit = (name: string, workers: Place[], rest: { role?: string; sequences?: number } = {}) => ({
  name,
  role: name.split("-")[0],
  epoch: 1,
  up: true,
  sequences: 0,
  cache,
  promptCache: null,
  workers,
  ...rest,
});
const status = (units: ReturnType<typeof unit>[], generatedTokens = 0) => ({
  units,
  generatedTokens,
  recent: { firstTokenMs: null, interTokenMs: null },
});

describe("the page's cluster", () => {
  it("shows what flowed since the last time, and nothing at rest", () => {
    const idle = status([
      unit("decode-0", [place(0, { collectives: 5 }), place(1, { collectives: 5 })]),
      unit("decode-1", [place(0)]),
      unit("prefill-0", [place(0)]),
    ]);
    // Probes of idle units are sums, too.
    const probed = status([
      unit("decode-0", [place(0, { collectives: 6 }), place(1, { collectives: 6 })]),
      unit("decode-1", [place(0)]),
      unit("prefill-0", [place(0)]),
    ]);
    const nothing = { reading: false, writing: false, latents: 0, sums: 0 };
    const still = flowsBetween(idle, probed, 1);
    assertEquals([...still.units.values()], [nothing, nothing, nothing]);
    assertEquals([still.handed("prefill-0", "decode-0"), still.tokens], [false, 0]);
    const busy = status([
      unit("decode-0", [place(0, { collectives: 105, decode: 8 }), place(1, { collectives: 105, decode: 8 })], { sequences: 1 }),
      unit("decode-1", [place(0)]),
      unit("prefill-0", [place(0, { handoffBytes: 5000, prefill: 1, phase: "prefill" })]),
    ], 16);
    const flows = flowsBetween(idle, busy, 2);
    assertEquals(flows.units.get("decode-0"), { reading: false, writing: true, latents: 0, sums: 50 });
    assertEquals(flows.units.get("prefill-0"), { reading: true, writing: false, latents: 2500, sums: 0 });
    assertEquals(["decode-0", "decode-1"].map((to) => flows.handed("prefill-0", to)), [true, false]);
    assertEquals(flows.tokens, 8);
    // Units are called after their models, where there are several: nothing goes from one model to another.
    const two = (handoffBytes: number) =>
      status([
        unit("a/decode-0", [place(0)], { role: "decode" }),
        unit("b/decode-0", [place(0)], { role: "decode" }),
        unit("a/prefill-0", [
          place(0, { handoffBytes }),
        ], { role: "prefill" }),
      ]);
    const apart = flowsBetween(two(0), two(9), 1);
    assertEquals(["a/decode-0", "b/decode-0"].map((to) => apart.handed("a/prefill-0", to)), [true, false]);
    assertEquals(layOut(two(0).units, 400).edges.filter(({ kind }) => kind === "latents").map(({ to }) => to), ["a/decode-0"]);
    // A worker that was started again counts from 0, one that is gone counts nothing, and a group may be new.
    const again = flowsBetween(
      busy,
      status([unit("decode-0", [place(0, { decode: 3 }), { ...place(1), worker: null, stats: null }]), unit("mixed-0", [place(0)])]),
      1,
    );
    assertEquals([again.units.get("decode-0")!.writing, again.units.get("mixed-0")], [true, nothing]);
    // So does a server.
    assertEquals(flowsBetween(status([], 50), status([], 6), 2).tokens, 3);
  });

  it("draws every unit and worker within the picture, none over another", () => {
    const ranks = fc.integer({ min: 1, max: 9 });
    const units = fc.oneof(
      fc.record({ decode: fc.array(ranks, { minLength: 1, maxLength: 3 }), prefill: fc.array(ranks, { minLength: 1, maxLength: 4 }) }),
      fc.record({ mixed: fc.array(ranks, { minLength: 1, maxLength: 8 }) }),
    );
    fc.assert(
      fc.property(units, fc.integer({ min: 240, max: 1200 }), fc.boolean(), (all, width, apart) => {
        const list = Object.entries(all).flatMap(([role, sizes]) =>
          sizes.map((count, i) =>
            unit(`${role}-${i}`, Array.from({ length: count }, (_, rank) => place(rank, {}, apart ? `host ${rank % 2}` : "local")))
          )
        );
        const { boxes, edges, frame, prompts, answers, height } = layOut(list, width);
        assertEquals(boxes.map(({ cards }) => cards.length).sort(), Object.values(all).flat().sort());
        const within = (inner: Box, outer: Box) =>
          inner.x >= outer.x - 0.01 && inner.y >= outer.y - 0.01 && inner.x + inner.width <= outer.x + outer.width + 0.01 &&
          inner.y + inner.height <= outer.y + outer.height + 0.01;
        const picture = { x: 0, y: 0, width, height };
        for (const box of [...boxes, prompts, answers, ...frame === null ? [] : [frame]]) {
          assert(within(box, picture), JSON.stringify({ box, picture }));
        }
        for (const box of boxes) for (const card of box.cards) assert(within(card, box));
        for (const some of [[...boxes, prompts, answers], ...boxes.map(({ cards }) => cards)]) {
          for (const [i, one] of some.entries()) for (const other of some.slice(i + 1)) assert(!overlap(one, other), JSON.stringify({ one, other }));
        }
        assert(edges.every(({ x1, y1, x2, y2 }) => [x1, x2].every((x) => x >= 0 && x <= width) && y1 < y2));
        const groups = boxes.filter(({ role }) => role === "decode");
        const feeders = boxes.filter(({ role }) => role === "prefill").length;
        const each = feeders * groups.reduce((sum, { cards }) => sum + cards.length, 0);
        assertEquals(edges.filter(({ kind }) => kind === "latents").length, each > 48 ? feeders * groups.length : each);
        assert(boxes.every(({ bus, cards }) => (bus === null) === (cards.length === 1) && !bus?.path.includes("NaN")));
      }),
      { seed: SEED, numRuns: 100 },
    );
  });

  it("sums up the memory of each device", () => {
    const units = [
      unit("decode-0", [place(0, {}, "a", 0), place(1, {}, "b", 0)]),
      unit("prefill-0", [place(0, {}, "a", 0)]),
      unit("decode-1", [{ ...place(0), stats: null }]),
    ];
    assertEquals(devicesOf(units, 64), [
      { name: "a · GPU 0", detail: "a device: decode-0 rank 0, prefill-0", weights: 2000, used: 2 * 3 * 128, kept: 2 * 2 * 128, free: 2 * 5 * 128 },
      { name: "b · GPU 0", detail: "a device: decode-0 rank 1", weights: 1000, used: 3 * 128, kept: 2 * 128, free: 5 * 128 },
    ]);
  });

  it("remembers two minutes, with gaps where nothing is known", () => {
    const recent = new Recent(120);
    for (let second = 0; second < 200; second++) {
      recent.add(clusterValues(status([unit("decode-0", [place(0)])]), second === 0 ? null : 3), second * 1000);
    }
    const [at, throughput, first, inUse] = recent.columns(["throughput", "first", "cache"]);
    assertEquals([at.length, at[0], at.at(-1)], [121, -120, 0]);
    assertEquals([throughput.at(-1), first.at(-1), Math.round(inUse.at(-1)!)], [3, null, 30]);
  });

  it("speaks of it in words", () => {
    assertEquals(stateOf(place(0, { phase: "decode" }), true), "writing");
    assertEquals(stateOf({ ...place(0), worker: null }, false), "nobody is there");
    assertEquals([place(0), place(0, {}, "a", 3), { kind: "deno", gpu: null }, { kind: null, gpu: 2 }].map(deviceOf), [
      "processor",
      "GPU 3",
      "GPU",
      "GPU 2",
    ]);
    const incident = { unit: "decode-0", rank: 1, message: "it ended" };
    assertEquals(incidentText({ ...incident, kind: "lost" }), "decode-0 lost the worker of rank 1: it ended");
    assertEquals(incidentText({ ...incident, kind: "restored", message: "" }), "decode-0 works again");
    assertEquals([0, 999, 1500, 2_500_000].map(bytesText), ["0 bytes", "999 bytes", "1.50 kB", "2.50 MB"]);
    assertEquals([-5, 59_000, 600_000, 7_200_000, 200_000_000].map(agoText), ["0 s ago", "59 s ago", "10 min ago", "2 h ago", "2 days ago"]);
  });
});

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

function overlap(a: Box, b: Box): boolean {
  return a.x + a.width > b.x + 0.01 && b.x + b.width > a.x + 0.01 && a.y + a.height > b.y + 0.01 && b.y + b.height > a.y + 0.01;
}
