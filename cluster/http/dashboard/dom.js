// Making elements.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element.
 *
 * @param {string} tag with classes behind dots, as in `p.hint`
 * @param {Record<string, unknown>} properties what is no property of such an element becomes an attribute
 * @param {...(Node | string)} children
 */
export function make(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  element.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** An element of a drawing, made likewise; everything is an attribute. */
export function draw(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElementNS(SVG, name);
  if (classes.length > 0) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A small button. @param {string} text @param {() => void} onclick */
export function button(text, onclick, properties = {}) {
  return make("button.small", { type: "button", textContent: text, onclick, ...properties });
}

/** Tells those who do not see the page. @param {string} text */
export function announce(text) {
  document.getElementById("said").textContent = text;
}

/** Calls back whenever colours change between light and dark. @param {() => void} callback */
export function onColours(callback) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
}
