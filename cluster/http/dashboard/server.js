// Requests to the server, with its key where it asks for one.

const KEY = "latentmesh-key";

/** Whether the server asks for a key, as far as is known. */
export const isKeyed = () => sessionStorage.getItem(KEY) !== null;

function headers() {
  const key = sessionStorage.getItem(KEY);
  return key === null ? {} : { authorization: `Bearer ${key}` };
}

/** Asks the user for the server's key, once at a time. */
let asking = null;
/** The user has closed the question without a key: only what the user does brings it back. */
let dismissed = false;
function askForKey() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog");
    const input = document.getElementById("key");
    document.getElementById("key-refused").hidden = !isKeyed();
    input.value = "";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      asking = null;
      dismissed = input.value.trim() === "";
      if (!dismissed) sessionStorage.setItem(KEY, input.value.trim());
      resolve();
    }, { once: true });
  });
  return asking;
}

/** A response that is no error. @param byUser whether the user has just asked for it */
async function ask(path, options = {}, byUser = true) {
  while (true) {
    const response = await fetch(path, { ...options, headers: { ...options.headers, ...headers() } });
    if (response.status === 401 && (byUser || !dismissed)) {
      await askForKey();
      if (!dismissed) continue;
    }
    if (!response.ok) throw new Error((await response.json().catch(() => null))?.error?.message ?? `status ${response.status}`);
    return response;
  }
}

/** JSON of a GET that nobody has clicked for. */
export async function get(path) {
  return await (await ask(path, {}, false)).json();
}

/** Text of a GET. */
export async function getText(path) {
  return await (await ask(path)).text();
}

/** Events of a POST, as they come. */
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
