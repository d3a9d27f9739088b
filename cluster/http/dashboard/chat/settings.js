// How answers are asked for. What is left empty is left to the model.
import { make } from "../dom.js";
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

/** What a field takes, in words. @param {{ min: string, max: string, step: string }} input */
export function boundsText({ min, max, step }) {
  const number = step === "1" ? "a whole number" : "a number";
  if (min === "") return max === "" ? number : `${number} up to ${max}`;
  return max === "" ? `${number} from ${min} up` : `${number} from ${min} to ${max}`;
}

/**
 * Why nothing can be asked with what is set; null: it can.
 *
 * @param {{ label: string, min: string, max: string, step: string }[]} wrong fields with something in them that they do not take
 */
export function problemOf(wrong) {
  if (wrong.length === 0) return null;
  const what = wrong.map((field) => `${field.label} must be ${boundsText(field)}`).join("; ");
  return `Nothing was sent. ${what}: correct or empty ${wrong.length === 1 ? "it" : "them"} in the settings.`;
}

/**
 * The form in its drawer; what is written there is kept.
 *
 * @param {object} parts
 * @returns {() => ReturnType<typeof requestOf> & { problem: string | null }} what it says now, and why it cannot be sent
 */
export function settings({ dialog, opener, form, reset, mark }) {
  const inputs = [...form.elements].filter(({ name }) => name);
  const values = () => Object.fromEntries(inputs.map(({ name, value }) => [name, value]));
  const changed = () => inputs.filter(({ value, validity }) => value.trim() !== "" || validity.badInput).length;
  const fields = inputs.filter(({ type }) => type === "number").map((input) => fieldOf(input));
  const wrong = () => fields.filter(({ input }) => !input.validity.valid);
  const tell = () => {
    const count = changed();
    const bad = wrong().length;
    mark.hidden = count === 0;
    mark.textContent = bad === 0 ? String(count) : `${count} !`;
    mark.classList.toggle("bad", bad > 0);
    const parts = ["Settings", ...count === 0 ? [] : [`${count} changed`], ...bad === 0 ? [] : [`${bad} to correct`]];
    opener.setAttribute("aria-label", parts.join(", "));
    for (const field of fields) field.tell();
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
  return () => ({
    ...requestOf(values()),
    problem: problemOf(wrong().map(({ input, label }) => ({ label, min: input.min, max: input.max, step: input.step }))),
  });
}

/** A field that says below what it takes, and that what is in it is something else. @param {HTMLInputElement} input in its label */
function fieldOf(input) {
  const [element] = input.labels;
  const label = element.firstChild.textContent.trim();
  const about = make("small.hint", { id: `about-${input.name}` });
  const bounds = boundsText(input);
  // Beside the label, not in it: the name of the field stays short.
  const field = make("div.field");
  element.replaceWith(field);
  field.append(element, about);
  input.setAttribute("aria-describedby", about.id);
  return {
    input,
    label,
    tell() {
      const { valid } = input.validity;
      input.setAttribute("aria-invalid", String(!valid));
      about.className = valid ? "hint" : "notice";
      about.textContent = valid ? `${bounds[0].toUpperCase()}${bounds.slice(1)}` : `Must be ${bounds}.`;
    },
  };
}
