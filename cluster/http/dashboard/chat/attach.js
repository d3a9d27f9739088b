// Text files that are dropped, pasted or chosen become part of the message.

/** Bytes of a file beyond which it is not taken: no model reads as much, and the page would crawl. */
const LONGEST = 1_000_000;

/**
 * A file as part of a message: in a fence that nothing in it ends.
 *
 * @param {string} name @param {string} text
 */
export function fenced(name, text) {
  // No `Math.max` of all: files have more of them than a function takes arguments.
  const longest = [...text.matchAll(/`+/g)].reduce((most, [run]) => Math.max(most, run.length), 2);
  const fence = "`".repeat(longest + 1);
  const language = /\.([A-Za-z0-9]+)$/.exec(name)?.[1].toLowerCase() ?? "";
  return `${name}:\n\n${fence}${language}\n${text.replace(/\n?$/, "\n")}${fence}\n`;
}

/** @param {File} file @throws {Error} that says why it cannot be taken */
async function textOf(file) {
  if (file.size > LONGEST) throw new Error(`${file.name} is too large: ${LONGEST.toLocaleString("en")} bytes are the most.`);
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    if (!text.includes("\0")) return text;
  } catch {
    // Said below.
  }
  throw new Error(`${file.name} is no text; models here read nothing else.`);
}

/**
 * Lets files come into a message.
 *
 * @param {HTMLTextAreaElement} message @param {HTMLElement} area onto which they may be dropped
 * @param {HTMLButtonElement} opener @param {HTMLInputElement} input of files @param {(problem: string) => void} tell
 */
export function attach({ message, area, opener, input }, tell) {
  async function add(files) {
    for (const file of files) {
      try {
        const part = fenced(file.name, await textOf(file));
        message.value = message.value === "" ? `${part}\n` : `${message.value.replace(/\n*$/, "")}\n\n${part}\n`;
      } catch (error) {
        tell(error.message);
      }
    }
    message.focus();
  }
  opener.addEventListener("click", () => input.click());
  input.addEventListener("change", async () => {
    await add([...input.files]);
    input.value = "";
  });
  message.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length === 0) return;
    event.preventDefault();
    void add([...event.clipboardData.files]);
  });
  area.addEventListener("dragover", (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
  area.addEventListener("drop", (event) => {
    if (event.dataTransfer.files.length === 0) return;
    event.preventDefault();
    void add([...event.dataTransfer.files]);
  });
}
