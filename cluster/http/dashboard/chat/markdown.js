// Markdown of models, as elements. What they write is text of strangers: HTML in it is shown, not obeyed, and nothing is fetched.
import { Marked } from "../lib/marked.js";
import purify from "../lib/purify.js";
import { copyButton } from "../copy.js";
import { make } from "../dom.js";
import { highlight } from "./highlight.js";

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

const marked = new Marked({
  gfm: true,
  // Models end lines as people do in letters.
  breaks: true,
  renderer: {
    html: ({ text }) => escaped(text),
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => checked ? "☑ " : "☐ ",
    // The page has headings of its own above.
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + 2);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
  },
});

const CLEAN = {
  RETURN_DOM_FRAGMENT: true,
  ALLOWED_TAGS: "a b blockquote br code del em h3 h4 h5 h6 hr i li ol p pre strong table tbody td th thead tr ul".split(" "),
  ALLOWED_ATTR: ["href", "title", "class", "start", "align"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
};

let hooked = false;
function hook() {
  if (hooked) return;
  hooked = true;
  purify.addHook("uponSanitizeAttribute", (_, attribute) => {
    // Classes are the page's own, but for the one that says which language code is in.
    if (attribute.attrName === "class" && !/^language-[\w+#.-]+$/.test(attribute.attrValue)) attribute.keepAttr = false;
  });
  purify.addHook("afterSanitizeAttributes", (element) => {
    if (element.tagName !== "A" || !element.hasAttribute("href")) return;
    element.setAttribute("target", "_blank");
    element.setAttribute("rel", "noopener noreferrer nofollow");
  });
}

/** Text in Markdown that grows. */
export class MarkdownText {
  #element;
  /** What is shown, block by block. */
  #blocks = [];

  /** @param {HTMLElement} element where it is shown */
  constructor(element) {
    hook();
    this.#element = element;
  }

  /** Shows all of a text; blocks that are as they were stay, with what is selected in them. @param {boolean} whole whether nothing more comes */
  show(text, whole) {
    const tokens = marked.lexer(text);
    // A link may be explained behind where it stands.
    const explained = whole && Object.keys(tokens.links).length > 0;
    let same = 0;
    while (!explained && same < tokens.length && this.#blocks[same]?.raw === tokens[same].raw) same++;
    for (const { nodes } of this.#blocks.splice(same)) for (const node of nodes) node.remove();
    for (const token of tokens.slice(same)) {
      const fragment = purify.sanitize(marked.parser([token]), CLEAN);
      const code = dressed(fragment);
      this.#blocks.push({ raw: token.raw, nodes: [...fragment.childNodes], code });
      this.#element.append(fragment);
    }
    // The last block may not be whole.
    for (const block of whole ? this.#blocks : this.#blocks.slice(0, -1)) {
      for (const code of block.code.splice(0)) void highlight(code);
    }
  }
}

/** Gives code its language and a button, and lets wide things scroll. @returns code in it */
function dressed(fragment) {
  for (const table of fragment.querySelectorAll("table")) {
    const scroller = make("div.scroller", { tabIndex: 0, role: "group", "aria-label": "Table" });
    table.replaceWith(scroller);
    scroller.append(table);
  }
  return [...fragment.querySelectorAll("pre > code")].map((code) => {
    const pre = code.parentElement;
    const language = /language-(\S+)/.exec(code.className)?.[1] ?? "";
    const block = make(
      "div.code",
      {},
      make("div.code-bar", {}, make("span", { textContent: language }), copyButton(() => code.textContent, "Copy this code")),
    );
    pre.replaceWith(block);
    pre.tabIndex = 0;
    block.append(pre);
    return code;
  });
}
