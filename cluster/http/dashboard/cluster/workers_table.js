// All workers as a table, for those who want it exactly, or hear it.
import { make } from "../dom.js";
import { deviceOf, epochText, machine, stateOf } from "./words.js";

/** As few as there can be: all of them are to fit beside a chat. */
const HEADS = [["Worker"], ["Device"], ["Process"], ["State"], ["Started again", "times"], ["Epoch", epochText("N")], ["In sums", "seconds"], [
  "Computing",
  "seconds",
]];

const seconds = (ms) => ms === undefined ? "" : (ms / 1000).toFixed(1);

/** @param {HTMLElement} table @param {object[]} units as `/cluster` has them */
export function showWorkers(table, units) {
  const head = make("tr", {}, ...HEADS.map(([name, title = ""]) => make("th", { scope: "col", textContent: name, title })));
  const rows = units.flatMap(({ name, epoch, up, workers }) =>
    workers.map((place) => {
      const { rank, host, pid, restarts, stats } = place;
      const values = [
        [machine(host), deviceOf(place), place.device].filter(Boolean).join(", "),
        pid ?? "",
        stateOf(place, up),
        restarts,
        epoch,
        seconds(stats?.exchangeMs),
        seconds(stats?.computeMs),
      ];
      return make(
        "tr",
        {},
        make("th", { scope: "row", textContent: `${name} rank ${rank}` }),
        ...values.map((value) => make("td", { textContent: String(value) })),
      );
    })
  );
  table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
}
