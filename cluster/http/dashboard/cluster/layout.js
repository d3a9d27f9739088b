// Where everything of a cluster stands in its drawing: prompts come in above, prefill units read them, decode groups below write, answers go out. Mixed units do
// both and stand in one row. Pure: from units and a width, in pixels.

const GAP = 12;
const PAD = 10;
const CARD = { least: 118, most: 180, height: 78 };
/** Above the cards of a unit, for its name, and below each row of several, for the line along which their sums go. */
const HEAD = 26;
const BUS = 18;
const CHIP = 30;
/** Between rows of units, for what travels there. */
const BETWEEN = 46;
/** Around everything that is on one machine, with its name above. */
const FRAME = { side: 10, top: 24, bottom: 10 };

/**
 * @typedef {object} Box
 * @property {number} x @property {number} y @property {number} width @property {number} height
 *
 * @typedef {Box & { unit: string, role: string, cards: (Box & { rank: number })[], buses: { from: number, to: number, y: number }[] }} UnitBox
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
  const hosts = new Set(units.flatMap(({ workers }) => workers.map(({ host }) => host)));
  const inner = width - 2 * FRAME.side;
  const fit = Math.max(1, Math.floor((inner - 2 * PAD + GAP) / (CARD.least + GAP)));
  // A few are drawn larger.
  const columns = Math.min(fit, Math.max(2, ...units.map(({ workers }) => workers.length)));
  const cardWidth = Math.min(CARD.most, (inner - 2 * PAD - (columns - 1) * GAP) / columns);
  const place = placer(columns, cardWidth, width);
  const prompts = { x: width / 2 - 90, y: 1, width: 180, height: CHIP };
  const first = place(units.filter(({ role }) => role !== "decode"), CHIP + BETWEEN);
  const second = place(units.filter(({ role }) => role === "decode"), first.bottom + BETWEEN);
  const boxes = [...first.boxes, ...second.boxes];
  const answers = { ...prompts, y: (second.boxes.length === 0 ? first : second).bottom + BETWEEN };
  const edges = edgesOf(first.boxes, second.boxes, prompts, answers);
  const frame = hosts.size === 1 ? { host: [...hosts][0], ...frameOf(boxes) } : null;
  return { width, height: answers.y + CHIP + 1, prompts, answers, boxes, edges, frame, latentsAt: first.bottom + BETWEEN / 2 };
}

/** What holds all boxes. */
function frameOf(boxes) {
  const [left, top] = [Math.min(...boxes.map(({ x }) => x)) - FRAME.side, Math.min(...boxes.map(({ y }) => y)) - FRAME.top];
  const right = Math.max(...boxes.map(({ x, width }) => x + width)) + FRAME.side;
  const bottom = Math.max(...boxes.map(({ y, height }) => y + height)) + FRAME.bottom;
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/** Places units in rows, as many side by side as there is room for, each row in the middle. */
function placer(columns, cardWidth, width) {
  const sized = ({ name, role, workers }) => {
    const across = Math.min(columns, workers.length);
    const rows = Math.ceil(workers.length / across);
    const row = CARD.height + (workers.length > 1 ? BUS : 0);
    return {
      name,
      role,
      workers,
      across,
      row,
      width: across * cardWidth + (across - 1) * GAP + 2 * PAD,
      height: HEAD + rows * row + (rows - 1) * GAP + PAD,
    };
  };
  return (units, top) => {
    const rows = [];
    for (const unit of units.map(sized)) {
      const row = rows.at(-1);
      if (row !== undefined && row.width + GAP + unit.width <= width - 2 * FRAME.side) {
        row.units.push(unit);
        row.width += GAP + unit.width;
      } else rows.push({ units: [unit], width: unit.width });
    }
    const boxes = [];
    let y = top;
    for (const row of rows) {
      let x = Math.max(0, (width - row.width) / 2);
      for (const unit of row.units) {
        boxes.push(boxOf(unit, x, y, cardWidth));
        x += unit.width + GAP;
      }
      y += Math.max(...row.units.map(({ height }) => height)) + GAP;
    }
    return { boxes, bottom: y - GAP };
  };
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
  const middles = cards.map((card) => card.x + card.width / 2);
  const lines = workers.length < 2
    ? []
    : Array.from({ length: Math.ceil(workers.length / across) }, (_, i) => cards.slice(i * across, (i + 1) * across));
  const buses = lines.map((line) => ({ from: Math.min(...middles), to: Math.max(...middles), y: line[0].y + CARD.height + BUS / 2 }));
  return { unit: name, role, x, y, width, height, cards, buses };
}

/** @returns {Edge[]} */
function edgesOf(first, second, prompts, answers) {
  const middle = ({ x, width }) => x + width / 2;
  const bottom = ({ y, height }) => y + height;
  const edges = [];
  for (const box of first) {
    edges.push({ kind: "prompts", from: null, to: box.unit, x1: middle(prompts), y1: bottom(prompts), x2: middle(box), y2: box.y });
    if (box.role === "mixed") {
      edges.push({ kind: "answers", from: box.unit, to: null, x1: middle(box), y1: bottom(box), x2: middle(answers), y2: answers.y });
    }
    if (box.role !== "prefill") continue;
    for (const group of second) {
      // Rank i is fed by worker i mod P of a prefill unit of P workers.
      for (const card of group.cards) {
        const feeder = box.cards[card.rank % box.cards.length];
        edges.push({ kind: "latents", from: box.unit, to: group.unit, x1: middle(feeder), y1: bottom(feeder), x2: middle(card), y2: card.y });
      }
    }
  }
  for (const box of second) {
    edges.push({ kind: "answers", from: box.unit, to: null, x1: middle(box), y1: bottom(box), x2: middle(answers), y2: answers.y });
  }
  return edges;
}
