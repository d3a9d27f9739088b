// The cluster as a drawing that moves while something flows.
import { draw } from "../dom.js";
import { layOut } from "./layout.js";
import { bytesText, deviceOf, DOES, epochText, machine, rateText, stateOf } from "./words.js";

/** Characters of small text that fit, about. @param {string} text @param {number} width in pixels */
function fitted(text, width) {
  const most = Math.floor(width / 6.4);
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

/** A line that bends, from above to below. */
const bent = ({ x1, y1, x2, y2 }) => `M${x1} ${y1}C${x1} ${(y1 + y2) / 2} ${x2} ${(y1 + y2) / 2} ${x2} ${y2}`;

/** The drawing. */
export class Mesh {
  #element;
  #drawn = "";
  /** What changes, by what it is of. */
  #parts = new Map();
  #last = null;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
    new ResizeObserver(() => this.#last !== null && this.show(...this.#last)).observe(element);
  }

  /** @param {object} status what `/cluster` says @param {import("./flows.js").Flows} flows */
  show(status, flows) {
    this.#last = [status, flows];
    const { units } = status;
    const width = Math.floor(this.#element.clientWidth);
    if (width === 0) return;
    const shape = JSON.stringify([width, units.map(({ name, workers }) => [name, workers.length])]);
    if (shape !== this.#drawn) {
      this.#drawn = shape;
      this.#build(units, layOut(units, width));
    }
    this.#update(status, flows);
  }

  #build(units, layout) {
    const parts = this.#parts = new Map();
    const part = (key, element) => {
      parts.set(key, element);
      return element;
    };
    const chip = (key, { x, y, width, height }) =>
      draw("g.chip", {}, draw("rect", { x, y, width, height, rx: height / 2 }), part(key, draw("text", { x: x + width / 2, y: y + 20 })));
    const edges = layout.edges.map((edge) => part(edge, draw(`path.flow.${edge.kind}`, { d: bent(edge) })));
    const boxes = layout.boxes.map((box) => {
      const unit = units.find(({ name }) => name === box.unit);
      return draw(
        "g.unit",
        {},
        draw("rect", { x: box.x, y: box.y, width: box.width, height: box.height, rx: 10 }),
        draw(
          "text.name",
          { x: box.x + 10, y: box.y + 18 },
          fitted(box.cards.length === 1 ? unit.name : `${unit.name} ${DOES[unit.role]}`, box.width - 16),
        ),
        part(`${box.unit} title`, draw("title")),
        ...box.bus === null ? [] : [this.#bus(part, box.unit, box.bus)],
        ...box.cards.map((card) =>
          this.#card(part, `${box.unit}.${card.rank}`, card, box.cards.length === 1 ? DOES[unit.role] : `rank ${card.rank}`)
        ),
      );
    });
    const label = layout.edges.some(({ kind }) => kind === "latents")
      ? [part("latents", draw("text.label", { x: layout.width / 2, y: layout.latentsAt + 4 }))]
      : [];
    const drawing = draw("svg", { viewBox: `0 0 ${layout.width} ${layout.height}`, width: layout.width, height: layout.height, role: "img" });
    const { frame } = layout;
    if (frame !== null) {
      const { host, ...rect } = frame;
      drawing.append(draw("rect.frame", { ...rect, rx: 12 }), draw("text", { x: rect.x + 12, y: rect.y + 16 }, machine(host)));
    }
    drawing.append(...edges, ...boxes, ...label, chip("prompts", layout.prompts), chip("answers", layout.answers));
    this.#element.replaceChildren(drawing);
    parts.set("drawing", drawing);
    parts.set("edges", layout.edges);
    parts.set("summing", layout.boxes.filter(({ bus }) => bus !== null).map(({ unit }) => unit));
  }

  /** The line along which ranks give each other their parts. */
  #bus(part, unit, { path, x, y }) {
    return draw("g", {}, part(`${unit} bus`, draw("path.flow.sums", { d: path })), part(`${unit} sums`, draw("text.label", { x, y: y + 4 })));
  }

  #card(part, key, { x, y, width, height }, name) {
    const text = (name, dy) => part(`${key} ${name}`, draw(`text.${name}`, { x: x + 10, y: y + dy }));
    return draw(
      "g.card",
      {},
      part(key, draw("rect", { x, y, width, height, rx: 7 })),
      part(`${key} dot`, draw("circle", { cx: x + 15, cy: y + 15, r: 4 })),
      draw("text.rank", { x: x + 24, y: y + 19 }, name),
      text("device", 37),
      text("state", 53),
      draw("rect.bar", { x: x + 10, y: y + 63, width: width - 20, height: 5, rx: 2.5 }),
      part(`${key} used`, draw("rect.used", { x: x + 10, y: y + 63, width: 0, height: 5, rx: 2.5 })),
      part(`${key} title`, draw("title")),
    );
  }

  #update({ units, scheduling: { waiting, running } }, flows) {
    const parts = this.#parts;
    const say = (key, text) => {
      const element = parts.get(key);
      if (element.textContent !== text) element.textContent = text;
    };
    say("prompts", waiting === 0 ? "Prompts" : `Prompts: ${waiting} waiting`);
    say("answers", flows.tokens > 0 ? `Answers: ${rateText(flows.tokens)} tokens/s` : running === 0 ? "Answers" : `Answers: ${running} under way`);
    const several = new Set(units.flatMap(({ workers }) => workers.map(({ host }) => host))).size > 1;
    for (const unit of units) {
      const { name, role, epoch, up, sequences, cache, workers } = unit;
      say(`${name} title`, `${name} ${DOES[role]}; ${sequences} sequences; ${epochText(epoch)}`);
      const used = cache.blocks === 0 ? 0 : (cache.blocks - cache.available) / cache.blocks;
      for (const place of workers) {
        const key = `${name}.${place.rank}`;
        const width = Number(parts.get(key).getAttribute("width")) - 20;
        const state = stateOf(place, up);
        const device = [...several ? [machine(place.host)] : [], deviceOf(place)].filter(Boolean).join(" · ");
        say(`${key} device`, fitted(device, width));
        say(`${key} state`, state);
        say(
          `${key} title`,
          [place.worker ?? key, machine(place.host), place.device, state, `${Math.round(used * 100)} % of its cache in use`].filter(Boolean).join(
            "\n",
          ),
        );
        parts.get(`${key} dot`).setAttribute("class", up && place.worker !== null ? place.stats?.phase == null ? "rests" : "works" : "down");
        parts.get(`${key} used`).setAttribute("width", String(Math.max(0, width * used)));
      }
    }
    this.#move(flows);
    const doing = units.map((unit) => `${unit.name} ${DOES[unit.role]}: ${unit.workers.map((place) => stateOf(place, unit.up)).join(", ")}`).join(
      "; ",
    );
    parts.get("drawing").setAttribute("aria-label", `The cluster. ${doing}.`);
  }

  /** What flows moves, and nothing else. */
  #move(flows) {
    const parts = this.#parts;
    let latents = 0;
    for (const { latents: bytes } of flows.units.values()) latents += bytes;
    for (const edge of parts.get("edges")) {
      const { kind, from, to } = edge;
      const moves = kind === "latents" ? flows.handed(from, to) : kind === "prompts" ? flows.units.get(to)?.reading : flows.units.get(from)?.writing;
      parts.get(edge).classList.toggle("moves", moves === true);
    }
    for (const unit of parts.get("summing")) {
      const sums = flows.units.get(unit)?.sums ?? 0;
      parts.get(`${unit} bus`).classList.toggle("moves", sums > 0);
      parts.get(`${unit} sums`).textContent = sums > 0 ? `${rateText(sums)} sums/s` : "";
    }
    const label = parts.get("latents");
    if (label !== undefined) label.textContent = latents > 0 ? `latents, ${bytesText(latents)}/s` : "latents";
  }
}
