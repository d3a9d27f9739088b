// How answers are asked for. What is left empty is left to the model.
import { kept } from "../storage.js";

const KEY = "settings";

/** Fields of a request by their inputs' names, and how their text is read. */
const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "max_tokens"];

/**
 * What goes into a request.
 *
 * @param {Record<string, string>} values texts of the inputs by their names
 * @returns {{ system: string, fields: Record<string, unknown> }}
 */
export function requestOf(values) {
  const numbers = NUMBERS.map((name) => [name, (values[name] ?? "").trim()]).filter(([, text]) => text !== "" && Number.isFinite(Number(text)));
  const stop = (values.stop ?? "").split("\n").filter((line) => line !== "");
  return {
    system: (values.system ?? "").trim(),
    fields: { ...Object.fromEntries(numbers.map(([name, text]) => [name, Number(text)])), ...stop.length === 0 ? {} : { stop } },
  };
}

/** The form in its drawer; what is written there is kept. @param {object} parts @returns {() => ReturnType<typeof requestOf>} what it says now */
export function settings({ dialog, opener, form, reset, mark }) {
  const inputs = [...form.elements].filter(({ name }) => name);
  const values = () => Object.fromEntries(inputs.map(({ name, value }) => [name, value]));
  const changed = () => inputs.filter(({ value }) => value.trim() !== "").length;
  const tell = () => {
    const count = changed();
    mark.hidden = count === 0;
    mark.textContent = String(count);
    opener.setAttribute("aria-label", count === 0 ? "Settings" : `Settings, ${count} changed`);
  };
  const before = kept.get(KEY);
  for (const input of inputs) if (typeof before?.[input.name] === "string") input.value = before[input.name];
  tell();
  form.addEventListener("input", () => {
    kept.set(KEY, values());
    tell();
  });
  reset.addEventListener("click", () => {
    for (const input of inputs) input.value = "";
    kept.set(KEY, null);
    tell();
  });
  opener.addEventListener("click", () => dialog.showModal());
  return () => {
    // What is out of bounds is said by the form, and the server would refuse it.
    const usable = inputs.filter((input) => input.validity.valid);
    return requestOf(Object.fromEntries(usable.map(({ name, value }) => [name, value])));
  };
}
