/**
 * Whether there is room for a model beside others, as this host's memory tells, or does not.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { clusterServices } from "../../../cluster/compose.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { hasRoom } from "../../../cluster/models/room.ts";
import { LatentmeshError } from "../../../core/errors.ts";

describe("room for a model", () => {
  const settings = (cache: { memory?: number; maxTokens?: number }) => resolveSettings({ device: "cpu", cache }, {}, () => undefined);
  const caches = [{ maxTokens: 2048 }, { memory: 0.5 }];

  it("is there, or is not, by what is left, however the cache is sized", async () => {
    for (const cache of caches) {
      const rooms = [1e10, 1e5].map((free) => hasRoom(settings(cache), { ...clusterServices, freeMemory: () => Promise.resolve(free) }));
      assertEquals(await Promise.all(rooms), [true, false], JSON.stringify(cache));
    }
  });

  it("is not denied where what is left cannot be known: loading tells", async () => {
    const freeMemory = () => Promise.reject(new LatentmeshError("device_unavailable", "nvidia-smi is not installed"));
    for (const cache of caches) assertEquals(await hasRoom(settings(cache), { ...clusterServices, freeMemory }), true, JSON.stringify(cache));
  });
});
