/**
 * Tokens per second of the whole product, against the batch and against the context, from what `bench whole --json` writes.
 *
 * @module
 */
import type { Source } from "../source.ts";
import { runName } from "../whole/print.ts";
import type { CaseResult, WholeResult } from "../whole/result.ts";
import { type Line, lineChart } from "./chart.ts";

/** What a figure is about. */
interface Axis {
  readonly name: string;
  readonly title: string;
  readonly label: string;
  /** What lies along it, and what is the same for all points of a line. */
  readonly along: "batch" | "context";
  readonly same: "batch" | "context";
}

const AXES: readonly Axis[] = [
  { name: "whole-batch", title: "Tokens per second, against the batch", label: "sequences decoded together", along: "batch", same: "context" },
  { name: "whole-context", title: "Tokens per second, against the context", label: "tokens of context", along: "context", same: "batch" },
];

/** Figures by name: those that something was measured for at two places at least. */
export function wholeFigures(data: WholeResult & Source): Record<string, string> {
  const figures = AXES.map((axis) => [axis.name, figureOf(axis, data)] as const);
  return Object.fromEntries(figures.filter((figure): figure is [string, string] => figure[1] !== null));
}

function figureOf({ title, label, along, same }: Axis, { model, weights, runs, card, date, command }: WholeResult & Source): string | null {
  const lines = runs.flatMap((run): Line[] => {
    const measured = run.cases.filter(({ times }) => times !== null);
    return Array.from(Map.groupBy(measured, (one) => one[same]), ([fixed, cases]) => ({
      name: `${runName(run)}, ${fixedName(same, fixed)}`,
      points: pointsOf(cases, along),
    })).filter(({ points }) => points.length > 1);
  });
  if (lines.length === 0) return null;
  const [xs, ys] = (["x", "y"] as const).map((of) => lines.flatMap(({ points }) => points.map((point) => point[of])));
  return lineChart({
    title,
    caption: [`${model}, weights ${weights}: real server, streaming clients`, `${card}, ${date}: ${command}`],
    xLabel: label,
    yLabel: "tokens per second",
    xTicks: [...new Set(xs)].sort((a, b) => a - b).map((at) => ({ at, label: short(at) })),
    yTicks: roundTicks(Math.max(...ys)).map((at) => ({ at, label: String(Number(at.toPrecision(6))) })),
    logarithmic: { x: true },
    lines,
  });
}

function pointsOf(cases: readonly CaseResult[], along: Axis["along"]): Line["points"] {
  return cases.map((one) => ({ x: one[along], y: one.times!.tokensPerSecond })).sort((a, b) => a.x - b.x);
}

function fixedName(same: Axis["same"], value: number): string {
  return same === "batch" ? `batch ${value}` : `context ${short(value)}`;
}

function short(count: number): string {
  return count >= 1024 && count % 1024 === 0 ? `${count / 1024}K` : String(count);
}

/** From 0 to beyond the largest, at most six steps of a round length. */
function roundTicks(most: number): number[] {
  const power = 10 ** Math.floor(Math.log10(most / 6));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step * 6 >= most)!;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, i) => i * step);
}
