// What went wrong lately, and what became of it.
import { make } from "../dom.js";
import { agoText, incidentText } from "./words.js";

const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** Incidents that are shown. */
const MOST = 8;

/** The list: what the server tells, and what the page itself has seen of it. */
export class IncidentList {
  #element;
  #own = [];
  #away = false;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
  }

  /** What the page has seen by itself. @param {boolean} good @param {string} text */
  see(good, text) {
    this.#own = [{ at: Date.now(), good, text }, ...this.#own].slice(0, MOST);
  }

  /** The server did not answer. */
  away() {
    if (!this.#away) this.see(false, "The server did not answer");
    this.#away = true;
  }

  /** It did. @param {object[]} incidents as `/cluster` has them */
  show(incidents) {
    if (this.#away) this.see(true, "The server answers again");
    this.#away = false;
    const told = incidents.map((incident) => ({ at: incident.at, good: incident.kind === "restored", text: incidentText(incident) }));
    const all = [...told, ...this.#own].sort((a, b) => b.at - a.at).slice(0, MOST);
    if (all.length === 0) return this.#element.replaceChildren(make("li.hint", { textContent: "Nothing has failed since the server started." }));
    this.#element.replaceChildren(...all.map(({ at, good, text }) =>
      make(
        `li.${good ? "good" : "bad"}`,
        {},
        make("time", { dateTime: new Date(at).toISOString(), textContent: time.format(at), title: agoText(Date.now() - at) }),
        ` ${text}`,
      )
    ));
  }
}
