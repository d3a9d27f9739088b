// Where everything of a cluster stands in its drawing: prompts come in above, prefill units read them, decode groups below write, answers go out. Mixed units do
// both and stand in one row. Pure: from units and a width, in pixels.
import { modelOf } from "./flows.js";

const GAP = 12;
const PAD = 10;
const CARD = { least: 136, most: 180, height: 78 };
/** Above the cards of a unit, for its name, and below each row of several, for the line along which their sums go. */
const HEAD = 26;
const BUS = 18;
const CHIP = 30;
/** Between rows of units, for what travels there. */
const BETWEEN = 46;
/** Around everything that is on one machine, with its name above. */
const FRAME = { side: 10, top: 24, bottom: 10 };

/** Lines from prefill units to ranks beyond which each group is drawn with one: more are a carpet. */
const MOST_LINES = 48;

/**
 * @typedef {object} Box
 * @property {number} x @property {number} y @property {number} width @property {number} height
 *
 * @typedef {Box & { unit: string, role: string, cards: (Box & { rank: number })[], bus: { path: string, x: number, y: number } | null }} UnitBox
 *   `bus`: the line along which ranks give each other their parts, and where its label stands
 *
 * @typedef {object} Edge
 * @property {"prompts" | "latents" | "answers"} kind
 * @property {string | null} from name of a unit @property {string | null} to
 * @property {number} x1 @property {number} y1 @property {number} x2 @property {number} y2
 */

/**
 * @param {{ name: string, role: string, workers: { rank: number, host: string }[] }[]} units
 * @param {number} width
 */
export function layOut(units, width) {
  const inner = width - 2 * FRAME.side;
  const rows = [units.filter(({ role }) => role !== "decode"), units.filter(({ role }) => role === "decode")];
  const placed = (cardWidth) => {
    const [first, second] = rows;
    const above = place(first, CHIP + BETWEEN, cardWidth, width);
    const below = place(second, above.bottom + BETWEEN, cardWidth, width);
    return { above, below, bottom: second.length === 0 ? above.bottom : below.bottom };
  };
  // As wide as may be without taking more rows than narrow ones do.
  const least = Math.min(CARD.least, inner - 2 * PAD);
  let best = placed(least);
  for (let wider = least + 4; wider <= Math.min(CARD.most, inner - 2 * PAD); wider += 4) {
    const other = placed(wider);
    if (other.bottom > best.bottom) break;
    best = other;
  }
  const { above, below, bottom } = best;
  const boxes = [...above.boxes, ...below.boxes];
  const prompts = { x: width / 2 - 90, y: 1, width: 180, height: CHIP };
  const answers = { ...prompts, y: bottom + BETWEEN };
  const hosts = new Set(units.flatMap(({ workers }) => workers.map(({ host }) => host)));
  const frame = hosts.size === 1 ? { host: [...hosts][0], ...frameOf(boxes) } : null;
  const edges = edgesOf(above.boxes, below.boxes, prompts, answers);
  return { width, height: answers.y + CHIP + 1, prompts, answers, boxes, edges, frame, latentsAt: above.bottom + BETWEEN / 2 };
}

/** What holds all boxes. */
function frameOf(boxes) {
  const [left, top] = [Math.min(...boxes.map(({ x }) => x)) - FRAME.side, Math.min(...boxes.map(({ y }) => y)) - FRAME.top];
  const right = Math.max(...boxes.map(({ x, width }) => x + width)) + FRAME.side;
  const bottom = Math.max(...boxes.map(({ y, height }) => y + height)) + FRAME.bottom;
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/** Places units in rows, as many side by side as there is room for, each row in the middle. */
function place(units, top, cardWidth, width) {
  const inner = width - 2 * FRAME.side;
  const columns = Math.max(1, Math.floor((inner - 2 * PAD + GAP) / (cardWidth + GAP)));
  const rows = [];
  for (const unit of units.map((unit) => sized(unit, columns, cardWidth))) {
    const row = rows.at(-1);
    if (row !== undefined && row.width + GAP + unit.width <= inner) {
      row.units.push(unit);
      row.width += GAP + unit.width;
    } else rows.push({ units: [unit], width: unit.width });
  }
  const boxes = [];
  let y = top;
  for (const row of rows) {
    let x = (width - row.width) / 2;
    for (const unit of row.units) {
      boxes.push(boxOf(unit, x, y, cardWidth));
      x += unit.width + GAP;
    }
    y += Math.max(...row.units.map(({ height }) => height)) + GAP;
  }
  return { boxes, bottom: y - GAP };
}

function sized({ name, role, workers }, columns, cardWidth) {
  const across = Math.min(columns, workers.length);
  const rows = Math.ceil(workers.length / across);
  const row = CARD.height + (workers.length > 1 ? BUS : 0);
  const [width, height] = [across * cardWidth + (across - 1) * GAP + 2 * PAD, HEAD + rows * row + (rows - 1) * GAP + PAD];
  return { name, role, workers, across, row, width, height };
}

/** @returns {UnitBox} */
function boxOf({ name, role, workers, across, row, width, height }, x, y, cardWidth) {
  const cards = workers.map(({ rank }, i) => ({
    rank,
    x: x + PAD + (i % across) * (cardWidth + GAP),
    y: y + HEAD + Math.floor(i / across) * (row + GAP),
    width: cardWidth,
    height: CARD.height,
  }));
  return { unit: name, role, x, y, width, height, cards, bus: workers.length < 2 ? null : busOf(cards, across, x + PAD / 2) };
}

/** @param {number} trunk where the lines of several rows meet */
function busOf(cards, across, trunk) {
  const middle = ({ x, width }) => x + width / 2;
  const below = ({ y, height }) => y + height + BUS / 2;
  const rows = Array.from({ length: Math.ceil(cards.length / across) }, (_, i) => cards.slice(i * across, (i + 1) * across));
  const lines = rows.map((row) => `M${rows.length > 1 ? trunk : middle(row[0])} ${below(row[0])}H${middle(row.at(-1))}`);
  const stubs = cards.map((card) => `M${middle(card)} ${card.y + card.height}V${below(card)}`);
  const joined = rows.length > 1 ? `M${trunk} ${below(rows[0][0])}V${below(rows.at(-1)[0])}` : "";
  const [first] = rows;
  return { path: [...lines, ...stubs, joined].join(""), x: (middle(first[0]) + middle(first.at(-1))) / 2, y: below(first[0]) };
}

/** @returns {Edge[]} */
function edgesOf(first, second, prompts, answers) {
  const line = (kind, from, to, above, below) => ({
    kind,
    from,
    to,
    x1: above.x + above.width / 2,
    y1: above.y + above.height,
    x2: below.x + below.width / 2,
    y2: below.y,
  });
  const edges = first.map((box) => line("prompts", null, box.unit, prompts, box));
  const feeders = first.filter(({ role }) => role === "prefill");
  const single = feeders.length * second.reduce((sum, { cards }) => sum + cards.length, 0) > MOST_LINES;
  for (const box of feeders) {
    for (const group of second.filter(({ unit }) => modelOf(unit) === modelOf(box.unit))) {
      if (single) edges.push(line("latents", box.unit, group.unit, box, group));
      // Rank i is fed by worker i mod P of a prefill unit of P workers.
      else edges.push(...group.cards.map((card) => line("latents", box.unit, group.unit, box.cards[card.rank % box.cards.length], card)));
    }
  }
  for (const box of [...first.filter(({ role }) => role === "mixed"), ...second]) edges.push(line("answers", box.unit, null, box, answers));
  return edges;
}
