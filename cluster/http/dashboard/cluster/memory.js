// What workers hold in the memory of each device.
import { make } from "../dom.js";
import { bytesText, deviceOf, machine } from "./words.js";

/**
 * @typedef {object} DeviceMemory
 * @property {string} name
 * @property {string} detail who is there
 * @property {number} weights bytes @property {number} used of caches, bytes @property {number} kept for prompts that begin alike @property {number} free of caches
 */

/** @param {object[]} units as `/cluster` has them @param {number} blockTokens @returns {DeviceMemory[]} */
export function devicesOf(units, blockTokens) {
  const devices = new Map();
  for (const { name, cache, workers } of units) {
    for (const place of workers) {
      if (place.stats === null) continue;
      const where = `${machine(place.host)} · ${deviceOf(place)}`;
      if (!devices.has(where)) devices.set(where, { name: where, who: [], descriptions: new Set(), weights: 0, used: 0, kept: 0, free: 0 });
      const device = devices.get(where);
      const block = place.stats.cacheBytesPerToken * blockTokens;
      // Blocks that hold beginnings of prompts can be allocated, too.
      const idle = Math.min(cache.published, cache.available);
      device.weights += place.stats.weightBytes;
      device.used += (cache.blocks - cache.available) * block;
      device.kept += idle * block;
      device.free += (cache.available - idle) * block;
      device.who.push(workers.length === 1 ? name : `${name} rank ${place.rank}`);
      device.descriptions.add(place.device);
    }
  }
  return [...devices.values()].map(({ who, descriptions, ...device }) => ({
    ...device,
    detail: `${[...descriptions].join(", ")}: ${who.join(", ")}`,
  }));
}

const PARTS = [["weights", "weights"], ["used", "cache in use"], ["kept", "cached beginnings"], ["free", "cache free"]];

/** Draws all devices, on one scale. @param {HTMLElement} list @param {DeviceMemory[]} devices */
export function showMemory(list, devices) {
  const total = (device) => PARTS.reduce((sum, [part]) => sum + device[part], 0);
  const most = Math.max(1, ...devices.map(total));
  list.replaceChildren(...devices.map((device) => {
    const bar = make("div.bar", { role: "img", "aria-label": PARTS.map(([part, name]) => `${name} ${bytesText(device[part])}`).join(", ") });
    for (const [part, name] of PARTS) {
      const piece = make(`span.${part}`, { title: `${name}: ${bytesText(device[part])}` });
      piece.style.width = `${device[part] / most * 100}%`;
      bar.append(piece);
    }
    return make(
      "li",
      {},
      make("div.device", {}, make("strong", { textContent: device.name }), make("span", { textContent: bytesText(total(device)) })),
      bar,
      make("small", { textContent: device.detail }),
    );
  }));
}
