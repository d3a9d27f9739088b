// Copying text.
import { announce, button } from "./dom.js";

/** Milliseconds for which a button says that it has done its work. */
const SHOWN = 1500;

/** Puts a text onto the clipboard. @returns {Promise<boolean>} whether it is there */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages that came without TLS from another host have no clipboard of their own.
    return copySelected(text);
  }
}

function copySelected(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  const focused = document.activeElement;
  // In a dialog, nothing outside of it can be selected.
  (focused?.closest("dialog") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}

/** A button that copies. @param {() => string} textOf asked when it is pressed @param {string} [label] what it says to those who do not see where it stands */
export function copyButton(textOf, label = "Copy") {
  const say = (text, name) => {
    made.textContent = text;
    made.setAttribute("aria-label", name);
  };
  const made = button("Copy", async () => {
    const done = await copyText(textOf());
    const text = done ? "Copied" : "Not allowed";
    say(text, text);
    announce(done ? "Copied." : "The browser does not let this page copy.");
    setTimeout(say, SHOWN, "Copy", label);
  }, { "aria-label": label });
  return made;
}
