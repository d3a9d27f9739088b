// Requests to the server, with its key where it asks for one.
import { keptInTab } from "./storage.js";

const KEY = "key";

/** Whether the server has asked for a key. */
let wanted = false;

/** Whether the server asks for a key, as far as is known. */
export const isKeyed = () => wanted || keptInTab.get(KEY) !== null;

function headers() {
  const key = keptInTab.get(KEY);
  return key === null ? {} : { authorization: `Bearer ${key}` };
}

/** Asks the user for the server's key, once at a time. */
let asking = null;
/** The user has closed the question without a key: only what the user does brings it back. */
let dismissed = false;

/** @param {boolean} refused whether the key that there is was refused */
function askForKey(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog");
    const input = document.getElementById("key");
    document.getElementById("key-refused").hidden = !refused;
    input.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      asking = null;
      dismissed = dialog.returnValue !== "use" || input.value.trim() === "";
      if (!dismissed) keptInTab.set(KEY, input.value.trim());
      resolve();
    }, { once: true });
  });
  return asking;
}

/** Lets the user give another key. */
export const changeKey = () => askForKey(false);

/** A response that is no error. @param {boolean} byUser whether the user has just asked for it @param {number | null} patience milliseconds */
async function ask(path, options = {}, byUser = true, patience = null) {
  while (true) {
    const sent = headers();
    const signal = patience === null ? options.signal : AbortSignal.timeout(patience);
    const response = await fetch(path, { ...options, signal, headers: { ...options.headers, ...sent } });
    wanted ||= response.status === 401;
    if (response.status === 401 && (byUser || !dismissed)) {
      // Another request may have asked for the key meanwhile.
      if (headers().authorization !== sent.authorization) continue;
      await askForKey(sent.authorization !== undefined);
      if (!dismissed) continue;
    }
    if (!response.ok) {
      throw new Error((await response.json().catch(() => null))?.error?.message ?? `The server answered with status ${response.status}.`);
    }
    return response;
  }
}

/** Milliseconds after which a server that has said nothing does not answer. */
const PATIENCE = 10_000;

/** JSON of a GET that nobody has clicked for. */
export async function get(path) {
  return await (await ask(path, {}, false, PATIENCE)).json();
}

/** Text of a GET. */
export async function getText(path) {
  return await (await ask(path)).text();
}

/** Events of a POST, as they come. @param {string} path @param {object} body @param {AbortSignal} signal */
export async function* stream(path, body, signal) {
  const response = await ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  while (true) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const parsed = JSON.parse(data);
      if (parsed.error) throw new Error(parsed.error.message);
      yield parsed;
    }
  }
}
