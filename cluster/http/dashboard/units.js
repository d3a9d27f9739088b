// The cluster as boxes: units, and in them their workers.

function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function workerBox({ rank, worker, host, pid, device, restarts, stats }) {
  const box = make("div", "worker", make("strong", "", `rank ${rank}`));
  if (worker === null) {
    box.append(make("span", "down", "nobody is there"));
    return box;
  }
  const lines = [`${host}, process ${pid}`, device];
  if (restarts > 0) lines.push(restarts === 1 ? "started again once" : `started again ${restarts} times`);
  if (stats !== null) lines.push(stats.phase === null ? "at rest" : stats.phase === "prefill" ? "computing a prompt" : "decoding");
  if (stats !== null) lines.push(`sums ${(stats.exchangeMs / 1000).toFixed(1)} s, computing ${(stats.computeMs / 1000).toFixed(1)} s`);
  for (const line of lines) box.append(make("div", "", line));
  return box;
}

function inUse({ blocks, available, published }, what) {
  return make("div", "hint", `${blocks === 0 ? 0 : blocks - available} of ${blocks} ${what} in use, ${published} hold prefixes`);
}

function unitBox({ name, role, epoch, up, sequences, cache, promptCache, workers }) {
  const used = cache.blocks === 0 ? 0 : cache.blocks - cache.available;
  const state = make("span", up ? "up" : "down", up ? "● up" : "○ down");
  const detail = make("small", "", `${role}, epoch ${epoch}, ${sequences} sequences`);
  const meter = make("meter", "");
  meter.max = Math.max(1, cache.blocks);
  meter.value = used;
  meter.setAttribute("aria-label", `cache of ${name}`);
  return make(
    "article",
    "unit",
    make("h3", "", name, state, detail),
    meter,
    inUse(cache, "cache blocks"),
    ...(promptCache === null ? [] : [inUse(promptCache, "blocks of whole prompts")]),
    make("div", "workers", ...workers.map(workerBox)),
  );
}

/** Draws all units into an element. */
export function drawUnits(element, units, loading) {
  if (units.length === 0) element.replaceChildren(make("p", "hint", loading ? "The model is still loading." : "There are no units."));
  else element.replaceChildren(...units.map(unitBox));
}
