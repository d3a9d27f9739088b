// Charts of the last minutes.
import uPlot from "../lib/uplot.js";
import { make, onColours } from "../dom.js";

/** A value for people: two or three digits say enough. */
function shown(value, unit) {
  if (value == null) return "–";
  if (unit === " ms" && value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return `${value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1)}${unit}`;
}

const HEIGHT = 130;

/** One chart in a figure with its caption. */
class Chart {
  #figure;
  #space;
  #value = make("output");
  #plot = null;
  #columns = null;
  #options;

  /** @param {{ name: string, unit: string, fields: string[], most?: number }} options `most`: what the axis reaches to at least */
  constructor(options, span) {
    this.#options = options;
    this.#space = make("div.plot", { role: "img" });
    this.#figure = make("figure", {}, make("figcaption", {}, make("span", { textContent: options.name }), this.#value), this.#space);
    this.span = span;
  }

  get element() {
    return this.#figure;
  }

  /** @param {(number | null)[][]} columns */
  show(columns) {
    this.#columns = columns;
    this.#plot?.setData(columns);
    // Whoever points at another moment reads that one.
    this.#tell(this.#plot?.cursor.idx);
    const { name, unit } = this.#options;
    const values = columns[1].filter((value) => value !== null);
    this.#space.setAttribute(
      "aria-label",
      `${name}: now ${shown(columns[1].at(-1), unit)}, at most ${shown(values.length === 0 ? null : Math.max(...values), unit)}`,
    );
  }

  /** What a moment had. @param {number | null | undefined} pointed at it; none: the last */
  #tell(pointed) {
    const latest = this.#columns[0].length - 1;
    const at = Math.min(pointed ?? latest, latest);
    const [value, high] = this.#columns.slice(1).map((column) => column[at]);
    const text = shown(value, this.#options.unit);
    this.#value.textContent = high == null ? text : `${text}, 9 in 10 below ${shown(high, this.#options.unit)}`;
  }

  /** Draws it anew, as wide as there is room, in the colours that hold. */
  draw() {
    const width = Math.floor(this.#space.clientWidth);
    if (width === 0) return;
    this.#plot?.destroy();
    const colour = (name) => getComputedStyle(this.#space).getPropertyValue(name).trim();
    const { fields, most = 1 } = this.#options;
    const line = { stroke: colour("--accent"), width: 1.5, points: { show: false } };
    const axis = {
      stroke: colour("--soft"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui, sans-serif",
    };
    this.#plot = new uPlot(
      {
        width,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
        scales: { x: { time: false, range: [-this.span, 0] }, y: { range: (_, __, top) => [0, Math.max(most, (top ?? 0) * 1.1)] } },
        axes: [
          {
            ...axis,
            size: 24,
            splits: () => [-this.span, -this.span / 2, 0],
            values: (_, at) => at.map((second) => second === 0 ? "now" : `${-second} s ago`),
          },
          { ...axis, size: 44, space: 28 },
        ],
        series: [
          {},
          ...fields.map((_, i) => ({
            ...line,
            fill: i === 0 && fields.length === 1 ? `${line.stroke}22` : undefined,
            dash: i === 0 ? undefined : [4, 3],
          })),
        ],
        hooks: { setCursor: [({ cursor: { idx } }) => this.#columns !== null && this.#tell(idx)] },
      },
      this.#columns ?? [[], ...fields.map(() => [])],
      this.#space,
    );
  }
}

/**
 * Charts of a history.
 *
 * @param {HTMLElement} element where they are shown
 * @param {import("./recent.js").Recent} history
 * @param {{ name: string, unit: string, fields: string[], most?: number }[]} kinds
 * @returns {() => void} shows what has been added
 */
export function charts(element, history, kinds) {
  const all = kinds.map((options) => ({ chart: new Chart(options, history.span), fields: options.fields }));
  element.append(...all.map(({ chart }) => chart.element));
  const draw = () => all.forEach(({ chart }) => chart.draw());
  new ResizeObserver(draw).observe(element);
  onColours(draw);
  return () => all.forEach(({ chart, fields }) => chart.show(history.columns(fields)));
}
