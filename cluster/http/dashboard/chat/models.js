// Which model is asked, where a server has several.
import { kept } from "../storage.js";

const KEY = "model";

/**
 * What the user reads of a model.
 *
 * @param {{ id: string, state: string, error: string | null, progress: { loadedBytes: number, totalBytes: number } | null }} model
 */
export function modelText({ id, state, error, progress }) {
  if (state === "loaded") return id;
  if (state === "loading") return progress !== null && progress.totalBytes > 0 ? `${id} (loading, ${percent(progress)} %)` : `${id} (loading)`;
  return error === null ? `${id} (loads when asked)` : `✕ ${id} (could not be loaded)`;
}

/**
 * Why a model that is chosen cannot answer; null: it can, or may yet.
 *
 * @param {{ id: string, state: string, error: string | null } | undefined} model
 */
export function failureText(model) {
  return model === undefined || model.state !== "unloaded" || model.error === null ? null : `${model.id} could not be loaded: ${model.error}`;
}

const percent = ({ loadedBytes, totalBytes }) => Math.floor(100 * loadedBytes / totalBytes);

/** The choice. */
export class ModelChoice {
  #name;
  #select;
  #known = "";
  #all = [];
  #first = null;

  /** @param {{ name: HTMLElement, select: HTMLSelectElement }} parts `name` is shown where there is nothing to choose */
  constructor({ name, select }) {
    this.#name = name;
    this.#select = select;
    select.addEventListener("change", () => kept.set(KEY, select.value));
  }

  /** The model that is asked; null: it is not known yet. */
  get current() {
    const chosen = kept.get(KEY);
    return this.#all.some(({ id }) => id === chosen) ? chosen : this.#first;
  }

  /** Why {@link current} cannot answer; null: it can, or may yet. */
  get failure() {
    return failureText(this.#all.find(({ id }) => id === this.current));
  }

  /** @param {{ model: string, maxContext: number | null, models?: object[] }} status what `/cluster` says */
  show({ model, maxContext, models = [] }) {
    this.#first = model;
    this.#all = models;
    this.#name.hidden = models.length > 1;
    this.#select.hidden = models.length <= 1;
    this.#name.textContent = model;
    this.#name.title = maxContext === null ? "" : `context of ${maxContext} tokens`;
    this.#select.classList.toggle("down", this.failure !== null);
    this.#select.setAttribute("aria-invalid", String(this.failure !== null));
    const texts = models.map(modelText);
    // An open list would close if it were made anew.
    if (this.#known === texts.join("\n")) return;
    this.#known = texts.join("\n");
    this.#select.replaceChildren(...models.map(({ id }, i) => new Option(texts[i], id, id === model, id === this.current)));
    for (const [i, option] of [...this.#select.options].entries()) option.classList.toggle("down", failureText(models[i]) !== null);
  }
}
