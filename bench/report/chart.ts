/**
 * Charts as SVG that stand alone: no scripts, nothing from elsewhere, and readable on light and dark pages.
 *
 * @module
 */

/** A line through points. */
export interface Line {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

/** What is drawn. */
export interface LineChart {
  readonly title: string;
  /** What was measured, on what, when and how, in lines. */
  readonly caption: readonly string[];
  readonly xLabel: string;
  readonly yLabel: string;
  readonly xTicks: readonly { readonly at: number; readonly label: string }[];
  readonly yTicks: readonly { readonly at: number; readonly label: string }[];
  /** Whether equal factors are equal distances. */
  readonly logarithmic?: { readonly x?: boolean; readonly y?: boolean };
  readonly lines: readonly Line[];
  /** A value of y that others are compared to. */
  readonly reference?: number;
}

/** One bar. */
export interface Bar {
  readonly name: string;
  readonly value: number;
  /** The part of it that could not be saved. */
  readonly least: number;
  readonly label: string;
}

const WIDTH = 760;
/** From one line of text to the next. */
const LINE = 18;
/** Width of a character, about. */
const CHARACTER = 7.6;
const STYLE = `<style>
svg { --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --back: #ffffff; --c0: #0b62c4; --c1: #b35900; --c2: #a31d6c; }
@media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --soft: #9da7b1; --line: #30363d; --back: #0d1117; --c0: #6cb0ff; --c1: #ffb366; --c2: #ff8ac4; } }
text { font: 13px system-ui, sans-serif; fill: var(--soft); } .title { font-size: 16px; font-weight: 600; fill: var(--ink); } .name { fill: var(--ink); }
.back { fill: var(--back); } .grid { stroke: var(--line); } .reference { stroke: var(--soft); stroke-dasharray: 5 4; } polyline { fill: none; stroke-width: 2.5; }
.line0 { stroke: var(--c0); } .line1 { stroke: var(--c1); } .line2 { stroke: var(--c2); } .fill0 { fill: var(--c0); } .fill1 { fill: var(--c1); } .fill2 { fill: var(--c2); }
.faint { opacity: 0.35; }
</style>`;
/** For charts of more than three lines. */
const MORE_COLOURS = `<style>
svg { --c3: #1a7f37; --c4: #6e40c9; --c5: #8a6d00; }
@media (prefers-color-scheme: dark) { svg { --c3: #57d364; --c4: #c297ff; --c5: #e3c04a; } }
.line3 { stroke: var(--c3); } .line4 { stroke: var(--c4); } .line5 { stroke: var(--c5); } .fill3 { fill: var(--c3); } .fill4 { fill: var(--c4); } .fill5 { fill: var(--c5); }
</style>`;
const COLOURS = 6;
/** Least width of a line's name, with its dot. */
const KEY_WIDTH = 150;

/** Lines over a plane. */
export function lineChart({ title, caption, xLabel, yLabel, xTicks, yTicks, logarithmic = {}, lines, reference }: LineChart): string {
  const [left, right, below] = [70, 24, 56];
  const keyWidth = Math.max(KEY_WIDTH, Math.ceil(Math.max(...lines.map(({ name }) => name.length)) * CHARACTER) + 30);
  const keysPerRow = Math.max(1, Math.floor((WIDTH - left - right) / keyWidth));
  const keyRow = (i: number) => Math.floor(i / keysPerRow) * LINE;
  const top = 70 + keyRow(lines.length - 1);
  const bottom = below + caption.length * LINE;
  const height = 260 + top + bottom;
  const x = scale(xTicks.map(({ at }) => at), [left, WIDTH - right], logarithmic.x);
  const y = scale(yTicks.map(({ at }) => at), [height - bottom, top], logarithmic.y);
  const grid = [
    ...yTicks.map(({ at, label }) =>
      `<line class="grid" x1="${left}" x2="${WIDTH - right}" y1="${y(at)}" y2="${y(at)}"/>` + text(left - 8, Number(y(at)) + 4, label, "end")
    ),
    ...xTicks.map(({ at, label }) => text(Number(x(at)), height - bottom + 20, label, "middle")),
  ];
  const drawn = lines.map(({ points }, i) => {
    const places = points.map((point) => `${x(point.x)},${y(point.y)}`);
    const dots = points.map((point) => `<circle class="fill${i % COLOURS}" cx="${x(point.x)}" cy="${y(point.y)}" r="4"/>`);
    return `<polyline class="line${i % COLOURS}" points="${places.join(" ")}"/>${dots.join("")}`;
  });
  const keys = lines.map(({ name }, i) => {
    const at = left + i % keysPerRow * keyWidth;
    return `<circle class="fill${i % COLOURS}" cx="${at + 5}" cy="${50 + keyRow(i)}" r="5"/>${text(at + 16, 54 + keyRow(i), name, "start", "name")}`;
  });
  const dashed = reference === undefined
    ? ""
    : `<line class="reference" x1="${left}" x2="${WIDTH - right}" y1="${y(reference)}" y2="${y(reference)}"/>`;
  return page(title, height, [
    lines.length > 3 ? MORE_COLOURS : "",
    ...keys,
    ...grid,
    dashed,
    ...drawn,
    text((left + WIDTH - right) / 2, height - bottom + 42, xLabel, "middle"),
    `<text transform="translate(18 ${(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">${escape(yLabel)}</text>`,
    ...captionAt(height, caption),
  ]);
}

/** Bars below each other, the longest first as they come. */
export function barChart(
  { title, caption, key, bars }: {
    readonly title: string;
    readonly caption: readonly string[];
    readonly key: readonly string[];
    readonly bars: readonly Bar[];
  },
): string {
  const left = 20 + Math.ceil(Math.max(...bars.map(({ name }) => name.length)) * CHARACTER);
  const [right, pitch] = [84, 24];
  const top = 48 + key.length * LINE;
  const height = top + bars.length * pitch + 20 + caption.length * LINE;
  const most = Math.max(...bars.map(({ value }) => value), Number.MIN_VALUE);
  const width = (value: number) => (value / most * (WIDTH - left - right)).toFixed(1);
  return page(title, height, [
    ...key.map((line, i) => text(12, 48 + i * LINE, line, "start")),
    ...bars.flatMap(({ name, value, least, label }, i) => {
      const y = top + i * pitch;
      return [
        text(left - 8, y + 14, name, "end", "name"),
        `<rect class="fill0 faint" x="${left}" y="${y}" width="${width(value)}" height="${pitch - 6}" rx="2"/>`,
        `<rect class="fill0" x="${left}" y="${y}" width="${width(least)}" height="${pitch - 6}" rx="2"/>`,
        text(left + Number(width(value)) + 6, y + 14, label, "start"),
      ];
    }),
    ...captionAt(height, caption),
  ]);
}

function captionAt(height: number, lines: readonly string[]): string[] {
  return lines.map((line, i) => text(12, height - 12 - (lines.length - 1 - i) * LINE, line, "start"));
}

function page(title: string, height: number, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escape(title)}">
${STYLE}
<rect class="back" width="${WIDTH}" height="${height}"/>
${text(12, 26, title, "start", "title")}
${parts.filter(Boolean).join("\n")}
</svg>
`;
}

/** Where values lie between the ends of a range, which the least and the largest tick take. */
function scale(ticks: readonly number[], [from, to]: readonly [number, number], logarithmic = false): (value: number) => string {
  const along = logarithmic ? Math.log : (value: number) => value;
  const [least, most] = [along(Math.min(...ticks)), along(Math.max(...ticks))];
  return (value) => (from + (along(value) - least) / (most - least) * (to - from)).toFixed(1);
}

function text(x: number, y: number, content: string, anchor: "start" | "middle" | "end", kind = ""): string {
  return `<text${kind === "" ? "" : ` class="${kind}"`} x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escape(content)}</text>`;
}

function escape(content: string): string {
  return content.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/"/g, "&quot;");
}
