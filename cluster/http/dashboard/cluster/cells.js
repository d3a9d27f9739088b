// The cells that a front sends requests to.
import { make } from "../dom.js";
import { agoText } from "./words.js";

/**
 * @typedef {object} Cell as a front's `/cluster` has it
 * @property {string} id @property {string} url @property {string} model @property {number} maxContext @property {"loading" | "ready" | "draining"} state
 * @property {string | null} fingerprint @property {{ running: number, waiting: number }} load @property {number} requestsOfThisFront
 */

const sum = (cells, of) => cells.reduce((all, cell) => all + of(cell), 0);
const takes = ({ state }) => state === "ready";

/**
 * What the page shows of models, as it does for a server of several.
 *
 * @param {Cell[]} cells
 * @returns {{ model: string, maxContext: number | null, models: { id: string, state: string, error: null, progress: null, maxContext: number }[] }}
 */
export function modelsOf(cells) {
  const models = [...Map.groupBy(cells, ({ model }) => model)].map(([id, of]) => ({
    id,
    state: of.some(takes) ? "loaded" : "loading",
    error: null,
    progress: null,
    maxContext: Math.max(...of.map(({ maxContext }) => maxContext)),
  }));
  const first = models.toSorted((a, b) => a.id < b.id ? -1 : 1)[0];
  return { model: first?.id ?? "", maxContext: first?.maxContext ?? null, models };
}

/** What a front is, in words. @param {{ front: { registry: string, registryAgeMs: number }, cells: Cell[] }} status */
export function frontText({ front: { registry, registryAgeMs }, cells }) {
  const known = cells.length === 1 ? "a cell" : `${cells.length} cells`;
  // It is read every second or so.
  const age = registryAgeMs < 10_000 ? "" : `, which was last read ${agoText(registryAgeMs)}`;
  return `A front of ${known}, from ${registry}${age}.`;
}

/** The state of a front, and how it is shown. @param {{ front: { ready: boolean }, cells: Cell[] }} status @returns {[text: string, kind: "up" | "down"]} */
export function frontState({ front: { ready }, cells }) {
  if (!ready) return [cells.length === 0 ? "no cell is there" : "no cell takes requests", "down"];
  const [running, waiting] = [sum(cells, ({ load }) => load.running), sum(cells, ({ load }) => load.waiting)];
  return [running + waiting === 0 ? "ready" : `${running} answering · ${waiting} waiting`, "up"];
}

/** What charts of a front show. @param {{ front: { requestsInFlight: number }, cells: Cell[] }} status */
export function frontValues({ front, cells }) {
  return {
    running: sum(cells, ({ load }) => load.running),
    waiting: sum(cells, ({ load }) => load.waiting),
    own: front.requestsInFlight,
    ready: cells.filter(takes).length,
  };
}

/** Charts of a front. */
export const FRONT_CHARTS = [
  { name: "Answering at all cells", unit: "", fields: ["running"] },
  { name: "Waiting at all cells", unit: "", fields: ["waiting"] },
  { name: "Requests of this front", unit: "", fields: ["own"] },
  { name: "Cells that take requests", unit: "", fields: ["ready"] },
];

const STATES = { loading: "loads its model", ready: "takes requests", draining: "ends" };

/** What has become of cells between two looks. @param {Cell[]} before @param {Cell[]} now @returns {{ good: boolean, text: string }[]} */
export function cellEvents(before, now) {
  const [known, there] = [before, now].map((cells) => new Map(cells.map((cell) => [cell.id, cell])));
  const gone = before.filter(({ id }) => !there.has(id)).map(({ id, state }) => ({ good: state === "draining", text: `cell ${id} is gone` }));
  const came = now.filter(({ id }) => !known.has(id)).map(({ id }) => ({ good: true, text: `cell ${id} is there` }));
  return [...gone, ...came];
}

/** Letters for what is alike: cells of one letter go on with each other's answers. @param {Cell[]} cells @returns {Map<string, string>} by fingerprint */
export function likenessOf(cells) {
  const kinds = [...new Set(cells.map(({ fingerprint }) => fingerprint).filter((one) => one !== null))].sort();
  return new Map(kinds.map((kind, i) => [kind, i < 26 ? String.fromCharCode(65 + i) : String(i + 1)]));
}

const HEADS = [["Cell"], ["State"], ["Answering"], ["Waiting"], ["Of this front", "requests that this front has there"], ["Model"], [
  "Alike",
  "Cells of one letter give the same answers, and go on with each other's",
], ["Address"]];

/** @param {HTMLElement} table @param {Cell[]} cells */
export function showCells(table, cells) {
  const letters = likenessOf(cells);
  const head = make("tr", {}, ...HEADS.map(([name, title = ""]) => make("th", { scope: "col", textContent: name, title })));
  const rows = cells.toSorted((a, b) => a.id < b.id ? -1 : 1).map(({ id, state, load, requestsOfThisFront, model, fingerprint, url }) => {
    const alike = fingerprint === null ? "not known yet" : letters.get(fingerprint);
    const values = [STATES[state] ?? state, load.running, load.waiting, requestsOfThisFront, model, alike, url];
    return make("tr", {}, make("th", { scope: "row", textContent: id }), ...values.map((value) => make("td", { textContent: String(value) })));
  });
  table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
}
