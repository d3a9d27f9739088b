/**
 * The documents' figures are what the data beside them say.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { attentionFigure, driftFigure, report, rooflineFigure } from "../../bench/report.ts";
import { barChart, lineChart } from "../../bench/report/chart.ts";
import { keeper, sourceOf } from "../../bench/source.ts";
import { documentPaths } from "../support/docs/documents.ts";
import { ROOT } from "../../bench/support/root.ts";

const HERE = new URL("../../bench/report/", import.meta.url);
const data = async (name: string) => JSON.parse(await Deno.readTextFile(new URL(`data/${name}.json`, HERE)));
const figure = (name: string) => Deno.readTextFile(new URL(`figures/${name}.svg`, HERE));

describe("figures", () => {
  it("are drawn from the data that are kept", async () => {
    assertEquals(attentionFigure(await data("attention")), await figure("attention"));
    assertEquals(driftFigure(await data("drift")), await figure("drift"));
    assertEquals(rooflineFigure(await data("roofline")), await figure("roofline"));
  });

  it("are linked by documents", async () => {
    const documents = await Promise.all((await documentPaths()).map((path) => Deno.readTextFile(`${ROOT}/${path}`)));
    for (const name of ["attention", "drift", "roofline"]) assert(documents.some((text) => text.includes(`bench/report/figures/${name}.svg)`)), name);
  });

  it("say where their data come from, and are not drawn where that is not known", async () => {
    for (const name of ["attention", "drift", "roofline"]) {
      const { card, date, command } = await data(name);
      assert((await figure(name)).includes(`${card}, ${date}: ${command}`), name);
    }
    const directory = await Deno.makeTempDir();
    const { card: _, ...nameless } = await data("attention");
    await Deno.writeTextFile(`${directory}/attention.json`, JSON.stringify(nameless));
    await assertRejects(() => report([directory, `${directory}/figures`]), Error, "attention.json does not say its card");
    await keeper("attention", ["--json=here"], { json: `${directory}/kept.json`, card: "one" })({ batch: 16 });
    const { date: today, ...kept } = JSON.parse(await Deno.readTextFile(`${directory}/kept.json`));
    assertEquals(kept, { card: "one", command: "deno task bench attention", batch: 16 });
    assert(/^\d{4}-\d{2}-\d{2}$/.test(today));
    await Deno.remove(directory, { recursive: true });
    assertThrows(() => keeper("attention", ["--json", "file"], { json: "file" }), Error, "--card");
    const { command } = sourceOf("attention", ["--json", "file", "--batch", "4", "--card=one", "--context=7"], "one");
    assertEquals(command, "deno task bench attention --batch 4 --context=7");
  });

  it("of the whole product are drawn where it was measured", async () => {
    const directory = await Deno.makeTempDir();
    for (const name of ["attention", "drift", "roofline"]) await Deno.copyFile(new URL(`data/${name}.json`, HERE), `${directory}/${name}.json`);
    const drawn = async () => {
      await report([directory, `${directory}/figures`]);
      return Array.from(Deno.readDirSync(`${directory}/figures`), ({ name }) => name).sort();
    };
    assertEquals(await drawn(), ["attention.svg", "drift.svg", "roofline.svg"]);
    const one = (batch: number, context: number, tokensPerSecond: number | null) => ({
      batch,
      context,
      times: tokensPerSecond === null ? null : { tokensPerSecond },
    });
    const runs = [1, 2, 4, 8].map((ranks) => ({
      device: "dawn",
      ranks,
      attention: "tpla",
      cases: [one(1, 1024, 200 * ranks), one(16, 1024, 1700), one(1, 32768, 150), one(64, 256, null)],
    }));
    const whole = { model: "synthetic:v2-lite", weights: "keep", card: "a card", date: "2026-11-28", command: "deno task bench whole", runs };
    await Deno.writeTextFile(`${directory}/whole.json`, JSON.stringify(whole));
    assertEquals(await drawn(), ["attention.svg", "drift.svg", "roofline.svg", "whole-batch.svg", "whole-context.svg"]);
    const figure = await Deno.readTextFile(`${directory}/figures/whole-batch.svg`);
    // A line for each server, of two points: nothing else was measured at two batches. Names have two rows.
    assertEquals([figure.match(/<polyline/g)!.length, figure.includes("dawn, one rank, tpla, context 1K"), figure.includes("a card, 2026-11-28")], [
      4,
      true,
      true,
    ]);
    assertEquals(new Set(figure.match(/cy="(50|68)" r="5"/g)).size, 2);
    await Deno.remove(directory, { recursive: true });
  });

  it("say which data are missing", async () => {
    const directory = await Deno.makeTempDir();
    await assertRejects(() => report([directory, `${directory}/figures`]), Deno.errors.NotFound, "attention.json");
    await Deno.remove(directory, { recursive: true });
  });
});

describe("line charts", () => {
  const chart = {
    title: "a < b & c",
    caption: ["one", "two"],
    xLabel: "x",
    yLabel: "y",
    xTicks: [1, 10, 100].map((at) => ({ at, label: `${at}` })),
    yTicks: [0, 1].map((at) => ({ at, label: `${at}` })),
    lines: [{ name: "line", points: [{ x: 1, y: 0 }, { x: 10, y: 0.5 }, { x: 100, y: 1 }] }],
  };
  const points = (svg: string) => /points="([^"]*)"/.exec(svg)![1].split(" ").map((point) => point.split(",").map(Number));

  it("put equal factors at equal distances where asked to", () => {
    const [a, b, c] = points(lineChart({ ...chart, logarithmic: { x: true } }));
    assertEquals(Math.abs(b[0] - a[0] - (c[0] - b[0])) < 0.2, true);
    const [d, e, f] = points(lineChart(chart));
    assert((f[0] - e[0]) / (e[0] - d[0]) > 9);
    // Up is more.
    assert(d[1] > e[1] && e[1] > f[1]);
  });

  it("have room for the names of bars", () => {
    const name = "norm_matvec 64 x 2048 bf16 + norm_matvec 5632 x 2048 q4 (26)";
    const svg = barChart({ title: "bars", caption: [], key: [], bars: [{ name, value: 1, least: 0.5, label: "1 ms" }] });
    const x = Number(/<text class="name" x="([^"]*)"/.exec(svg)![1]);
    assert(x >= name.length * 7.5, `names end at ${x}`);
  });

  it("escape what would be markup", () => {
    assert(lineChart(chart).includes("a &lt; b &amp; c"));
  });
});
