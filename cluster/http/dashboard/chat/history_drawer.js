// The drawer of conversations.
import { announce, button, make } from "../dom.js";
import { titleOf, toMarkdown } from "./conversation.js";
import { conversations, exported, forget, takeIn } from "./history.js";

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Lets the user save a text as a file. */
function save(text, name, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * The drawer.
 *
 * @param {object} parts its elements
 * @param {object} chat
 * @param {() => import("./conversation.js").Conversation} chat.current
 * @param {(conversation: import("./conversation.js").Conversation | null) => void} chat.open null: a new one
 * @param {() => void} chat.reload shows the one that is open as it is kept now
 */
export function historyDrawer({ dialog, opener, list, problem, importer, file, exporter, markdown, clearer }, { current, open, reload }) {
  function show() {
    problem.hidden = true;
    const all = conversations();
    list.replaceChildren(
      ...all.map((one) => {
        const title = titleOf(one);
        const choose = make(
          "button.choose",
          {
            type: "button",
            onclick() {
              open(one);
              dialog.close();
            },
          },
          make("span", { textContent: title }),
          make("small", { textContent: when.format(one.at) }),
        );
        if (one.id === current().id) choose.setAttribute("aria-current", "true");
        return make("li", {}, choose, button("Delete", () => remove([one], `Delete “${title}”?`), { "aria-label": `Delete ${title}` }));
      }),
    );
    if (all.length === 0) list.append(make("li.hint", { textContent: "Nothing has been said yet." }));
    exporter.disabled = clearer.disabled = all.length === 0;
    markdown.disabled = current().start.next.length === 0;
  }

  function remove(which, question) {
    if (!confirm(question)) return;
    for (const { id } of which) forget(id);
    if (which.some(({ id }) => id === current().id)) open(null);
    show();
    announce("Deleted.");
    dialog.querySelector("button").focus();
  }

  opener.addEventListener("click", () => {
    show();
    dialog.showModal();
  });
  exporter.addEventListener("click", () => save(exported(), "latentmesh-conversations.json", "application/json"));
  markdown.addEventListener("click", () => save(toMarkdown(current()), "conversation.md", "text/markdown"));
  clearer.addEventListener("click", () => remove(conversations(), "Delete all conversations that this browser keeps?"));
  importer.addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    file.value = "";
    if (chosen === undefined) return;
    try {
      const { ids, left } = takeIn(await chosen.text());
      if (ids.includes(current().id)) reload();
      show();
      if (left > 0) {
        throw new Error(`The browser has no room for ${left} of these ${ids.length} conversations: they are here until the page is closed.`);
      }
      announce(ids.length === 1 ? "One conversation was imported." : `${ids.length} conversations were imported.`);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  });
}
