// What the server said over the last minutes, as lines.

/** Looks at the server, one per second. */
export class History {
  constructor(length) {
    this.length = length;
    this.entries = [];
    this.last = null;
  }

  add(status) {
    const now = performance.now();
    const { generatedTokens, recent, units } = status;
    const seconds = this.last === null ? null : (now - this.last.at) / 1000;
    const groups = units.filter(({ role }) => role !== "prefill");
    const blocks = groups.reduce((sum, { cache }) => sum + cache.blocks, 0);
    const available = groups.reduce((sum, { cache }) => sum + cache.available, 0);
    this.entries.push({
      throughput: seconds === null ? null : Math.max(0, generatedTokens - this.last.generatedTokens) / seconds,
      first: recent.firstTokenMs?.median ?? null,
      firstHigh: recent.firstTokenMs?.high ?? null,
      between: recent.interTokenMs?.median ?? null,
      betweenHigh: recent.interTokenMs?.high ?? null,
      cache: blocks === 0 ? null : (1 - available / blocks) * 100,
    });
    if (this.entries.length > this.length) this.entries.shift();
    this.last = { at: now, generatedTokens };
  }
}

const WIDTH = 240;
const HEIGHT = 100;

function pathOf(values, most, length) {
  let path = "";
  let broken = true;
  values.forEach((value, i) => {
    if (value === null) {
      broken = true;
      return;
    }
    const x = (i + length - values.length) / (length - 1) * WIDTH;
    path += `${broken ? "M" : "L"}${x.toFixed(1)} ${(HEIGHT - 4 - value / most * (HEIGHT - 8)).toFixed(1)}`;
    broken = false;
  });
  return path;
}

function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const shown = (value) => value === null ? "–" : value >= 100 ? value.toFixed(0) : value.toFixed(1);

/** Draws one value, and perhaps a higher one beside it. @param least the least that the chart's top stands for */
export function drawChart(target, output, { entries, length }, pick, pickHigh, least = 1) {
  const values = entries.map(pick);
  const highs = pickHigh === undefined ? [] : entries.map(pickHigh);
  const most = Math.max(least, ...values.filter((value) => value !== null), ...highs.filter((value) => value !== null));
  const now = values.at(-1) ?? null;
  output.textContent = `${shown(now)} (top ${shown(most)})`;
  target.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  target.setAttribute("preserveAspectRatio", "none");
  target.setAttribute("aria-label", `now ${shown(now)}, at most ${shown(most)}`);
  target.replaceChildren(
    svg("path", { class: "high", d: pathOf(highs, most, length) }),
    svg("path", { d: pathOf(values, most, length) }),
  );
}
