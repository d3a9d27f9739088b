// Colours of code.
import { tokenizer } from "../lib/tokenize.js";
import { make } from "../dom.js";

/** Other names of languages. The server has a file for every one on the right, see ../libraries.ts. */
const NAMES = Object.fromEntries(
  Object.entries({
    bash: "bash sh shell zsh console",
    c: "c h cpp c++ cc hpp cuda",
    css: "css scss",
    diff: "diff patch",
    docker: "docker dockerfile",
    go: "go golang",
    html: "html svg vue",
    ini: "ini conf",
    java: "java kotlin",
    js: "js javascript jsx mjs node",
    json: "json jsonc json5",
    lua: "lua",
    make: "make makefile",
    py: "py python python3",
    rs: "rs rust",
    sql: "sql",
    toml: "toml",
    ts: "ts typescript tsx",
    xml: "xml",
    yaml: "yaml yml",
  }).flatMap(([file, names]) => names.split(" ").map((name) => [name, file])),
);

/** Languages within others. */
const WITHIN = ["asm", "jsdoc", "regex", "todo"];
const FILES = new Set([...Object.values(NAMES), ...WITHIN]);

/** Characters of code beyond which it stays plain. */
const LONGEST = 50_000;

const loaded = new Map();

/** Rules of a language; undefined: there are none, or they do not come now, and what is in it stays plain. @param {string} name of a file */
async function load(name) {
  if (!FILES.has(name)) return undefined;
  if (!loaded.has(name)) {
    const coming = import(`../lib/languages/${name}.js`).then(({ default: rules }) => rules, () => void loaded.delete(name));
    loaded.set(name, coming);
  }
  return await loaded.get(name);
}

/** Which file has a language, by what Markdown calls it; undefined: none. @param {string} name */
export const languageFile = (name) => Object.hasOwn(NAMES, name.toLowerCase()) ? NAMES[name.toLowerCase()] : undefined;

/** Colours code in place, if its language is known. @param {HTMLElement} code with a class such as `language-python` */
export async function highlight(code) {
  const text = code.textContent;
  const file = languageFile(/language-(\S+)/.exec(code.className)?.[1] ?? "");
  if (file === undefined || text.length > LONGEST) return;
  const parts = [];
  const tokens = tokenizer(text, file, (part, type) => {
    if (part !== "") parts.push(type === undefined ? part : make(`span.token-${type}`, { textContent: part }));
  });
  // It asks for the rules of one language after the other: code has comments, and HTML scripts.
  for (let asked = tokens.next(); !asked.done;) asked = tokens.next(await load(asked.value));
  // What may be selected in code without colours stays so.
  if (parts.every((part) => typeof part === "string")) return;
  const shown = document.createDocumentFragment();
  shown.append(...parts);
  // Nothing of what was written may be lost to colours.
  if (shown.textContent === text) code.replaceChildren(shown);
}
