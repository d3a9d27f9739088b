/**
 * Draws the documents' figures from what benches have measured: `deno task bench report [data] [figures]`. The data are the files that benches write with `--json`; those of `drift` are put together from the runs of a table in bench/NOTES.md.
 *
 * @module
 */
import type { AttentionTime } from "./attention_bench.ts";
import type { RooflineResult } from "./roofline_bench.ts";
import { barChart, lineChart } from "./report/chart.ts";
import { wholeFigures } from "./report/whole_figures.ts";
import { checkSource, type Source } from "./source.ts";

/** What `bench attention --json` writes. */
interface AttentionData extends Source {
  readonly shape: string;
  readonly batch: number;
  readonly times: readonly AttentionTime[];
}

/** Measurements of `drift`. */
interface DriftData extends Source {
  readonly model: string;
  /** Cached values per token that decode exactly. */
  readonly exactWidth: number;
  readonly points: readonly { readonly groups: number; readonly halo: number; readonly width: number; readonly kl: number }[];
}

const HERE = new URL("./report/", import.meta.url).pathname;
/** Kernels below this share of the step are drawn as one bar. */
const LEAST_SHARE = 0.02;

/** Reads the data and writes the figures. */
export async function report([data = `${HERE}data`, figures = `${HERE}figures`]: readonly string[] = []): Promise<void> {
  const read = async <T extends Source>(name: string): Promise<T> => {
    const measured = JSON.parse(await Deno.readTextFile(`${data}/${name}.json`));
    checkSource(name, measured);
    return measured;
  };
  await Deno.mkdir(figures, { recursive: true });
  const drawn = {
    attention: attentionFigure(await read("attention")),
    drift: driftFigure(await read("drift")),
    roofline: rooflineFigure(await read("roofline")),
    // Not measured on every card that the others were.
    ...await isThere(`${data}/whole.json`) ? wholeFigures(await read("whole")) : {},
  };
  for (const [name, svg] of Object.entries(drawn)) {
    await Deno.writeTextFile(`${figures}/${name}.svg`, svg);
    console.log(`${figures}/${name}.svg`);
  }
}

async function isThere(file: string): Promise<boolean> {
  return await Deno.stat(file).then(() => true, () => false);
}

/** How much faster a rank's attention over a slice of the latent is than over the whole latent with its share of the heads. */
export function attentionFigure({ shape, batch, times, ...source }: AttentionData): string {
  const contexts = [...new Set(times.map(({ context }) => context))].sort((a, b) => a - b);
  const msOf = (name: string, context: number) => {
    const time = times.find((time) => time.name === name && time.context === context);
    if (time === undefined) throw new Error(`Cannot draw attention: no time of "${name}" at a context of ${context}`);
    return time.ms;
  };
  const lines = [2, 4].map((g) => ({
    name: `${g} ranks`,
    points: contexts.map((context) => ({ x: context, y: msOf(`mla, ${g} ranks`, context) / msOf(`tpla, g = ${g}`, context) })),
  }));
  const most = Math.ceil(Math.max(...lines.flatMap(({ points }) => points.map(({ y }) => y))) * 2) / 2;
  return lineChart({
    title: "Decode attention per rank: speed-up of TPLA over MLA with heads split",
    caption: captionOf(`${shape}'s shape, batch ${batch}, latents in f16; both by our own kernels`, source),
    xLabel: "tokens of context",
    yLabel: "times faster",
    xTicks: contexts.map((at) => ({ at, label: `${at / 1024}K` })),
    yTicks: Array.from({ length: most * 2 + 1 }, (_, i) => ({ at: i / 2, label: String(i / 2) })),
    logarithmic: { x: true },
    lines,
    reference: 1,
  });
}

/** What a narrower cache costs. */
export function driftFigure({ model, exactWidth, points, ...source }: DriftData): string {
  const groups = [...new Set(points.map((point) => point.groups))].sort((a, b) => a - b);
  const widths = points.map(({ width }) => width);
  return lineChart({
    title: "What TPLA costs: KL divergence from exact attention against cached width",
    caption: captionOf(`${model}, which caches ${exactWidth} values per token when exact; halo 0, 8, 16, 32 from left to right`, source),
    xLabel: "cached values per token and rank",
    yLabel: "nats per token",
    xTicks: [Math.min(...widths), 48, 64, 80, 96, Math.max(...widths)].map((at) => ({ at, label: String(at) })),
    yTicks: [0.001, 0.01, 0.1, 1].map((at) => ({ at, label: String(at) })),
    logarithmic: { y: true },
    lines: groups.map((g) => ({
      name: `${g} groups`,
      points: points.filter((point) => point.groups === g).map(({ width, kl }) => ({ x: width, y: kl })).sort((a, b) => a.x - b.x),
    })),
  });
}

/** Where a decode step's time goes, and how much of it the device's ceilings account for. */
export function rooflineFigure({ shape, layers, weights, batch, context, stepMs, kernels, dispatches, ...source }: RooflineResult & Source): string {
  const large = kernels.filter(({ ms }) => ms >= stepMs * LEAST_SHARE);
  const small = kernels.filter(({ ms }) => ms < stepMs * LEAST_SHARE);
  const rest = small.reduce(({ ms, least }, kernel) => ({ ms: ms + kernel.ms, least: least + kernel.ms * kernel.ofCeiling }), { ms: 0, least: 0 });
  const bars = large.map(({ name, runs, ms, ofCeiling }) => ({
    name: `${name} (${runs})`,
    value: ms,
    least: ms * Math.min(1, ofCeiling),
    label: `${ms.toFixed(2)} ms`,
  }));
  if (small.length > 0) bars.push({ name: "others", value: rest.ms, least: rest.least, label: `${rest.ms.toFixed(2)} ms` });
  return barChart({
    title: `Where a decode step's ${stepMs.toFixed(2)} ms on the device go`,
    key: [
      `Kernels and how often each runs. Dark: what reading and computing at the device's ceilings would take.`,
    ],
    caption: captionOf(`${shape}'s shape, ${layers} layers, ${weights}, batch ${batch}, context ${context}; ${dispatches} dispatches`, source),
    bars,
  });
}

function captionOf(what: string, { card, date, command }: Source): string[] {
  return [what, `${card}, ${date}: ${command}`];
}
