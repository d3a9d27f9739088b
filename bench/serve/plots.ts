/**
 * Results of the serve bench as a page with plots: SVG, nothing from elsewhere.
 *
 * @module
 */
import type { ServeResult } from "./result.ts";

interface Report {
  readonly model: string;
  readonly device: string;
  readonly cluster: string;
  readonly date: string;
  readonly command: string;
  readonly good: { readonly firstMs: number; readonly perTokenMs: number };
  readonly results: readonly ServeResult[];
}

interface Line {
  readonly name: string;
  readonly values: readonly number[];
}

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [420, 240, 52, 34];

/** One plot: lines over request rates. */
function plot(title: string, unit: string, rates: readonly number[], lines: readonly Line[]): string {
  const most = Math.max(...lines.flatMap(({ values }) => values), 1e-9) * 1.05;
  const x = (i: number) => LEFT + (rates.length === 1 ? 0.5 : i / (rates.length - 1)) * (WIDTH - LEFT - 16);
  const y = (value: number) => 12 + (1 - value / most) * (HEIGHT - BOTTOM - 12);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => part * most / 1.05);
  const grid = ticks.map((value) =>
    `<line class="grid" x1="${LEFT}" x2="${WIDTH - 16}" y1="${y(value)}" y2="${y(value)}"/><text x="${LEFT - 6}" y="${
      y(value) + 4
    }" text-anchor="end">${value >= 10 ? value.toFixed(0) : value.toFixed(1)}</text>`
  );
  const labels = rates.map((rate, i) => `<text x="${x(i)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${rate}</text>`);
  const drawn = lines.map(({ values }, line) => {
    const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`);
    return `<polyline class="line${line}" points="${points.join(" ")}"/>${
      points.map((point) => `<circle class="dot${line}" cx="${point.split(",")[0]}" cy="${point.split(",")[1]}" r="3"/>`).join("")
    }`;
  });
  const legend = lines.length === 1 ? "" : lines.map(({ name }, line) => `<span class="key${line}">${name}</span>`).join(" ");
  return `<figure><figcaption>${title}, ${unit} ${legend}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">${grid.join("")}${labels.join("")}<text x="${(WIDTH + LEFT) / 2}" y="${
    HEIGHT - 2
  }" text-anchor="middle">requests per second</text>${drawn.join("")}</svg></figure>`;
}

/** The whole page. */
export function plotPage({ model, device, cluster, date, command, good, results }: Report): string {
  const rates = results.map(({ rate }) => rate);
  const three = (pick: (result: ServeResult) => ServeResult["ttft"]): Line[] =>
    (["p50", "p90", "p99"] as const).map((name) => ({ name, values: results.map((result) => pick(result)[name]) }));
  const plots = [
    plot("Time to first token", "ms", rates, three(({ ttft }) => ttft)),
    plot("Time per output token", "ms", rates, three(({ tpot }) => tpot)),
    plot("Inter-token latency", "ms", rates, three(({ itl }) => itl)),
    plot("Throughput", "tokens per second", rates, [{ name: "tokens/s", values: results.map(({ tokensPerSecond }) => tokensPerSecond) }]),
    plot("Requests per second", "completed and served well", rates, [
      { name: "completed", values: results.map(({ completedRate }) => completedRate) },
      { name: "goodput", values: results.map(({ goodput }) => goodput) },
    ]),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Serving ${model}</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --a: #0b62c4; --b: #b35900; --c: #a31d6c; font: 15px/1.5 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b1; --line: #30363d; --a: #6cb0ff; --b: #ffb366; --c: #ff8ac4; } }
body { max-width: 62rem; margin: 0 auto; padding: 1rem; color: var(--ink); } main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; } text { fill: var(--soft); font-size: 11px; } .grid { stroke: var(--line); }
polyline { fill: none; stroke-width: 2; } .line0 { stroke: var(--a); } .line1 { stroke: var(--b); } .line2 { stroke: var(--c); }
.dot0 { fill: var(--a); } .dot1 { fill: var(--b); } .dot2 { fill: var(--c); } .key0 { color: var(--a); } .key1 { color: var(--b); } .key2 { color: var(--c); }
</style></head><body>
<h1>Serving ${model}</h1>
<p>${device}; ${cluster}. ${date}. Repeat with <code>${command}</code>. Served well: first token within ${good.firstMs} ms, ${good.perTokenMs} ms per token after it.</p>
<main>${plots.join("\n")}</main>
</body></html>
`;
}
