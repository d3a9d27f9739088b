/**
 * What a coordinator makes of failures: real workers in one test, made-up ones that fail as they are told in the others.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { clusterServices } from "../../../cluster/compose.ts";
import { Coordinator } from "../../../cluster/fleet/coordinator.ts";
import { loadClusterModel } from "../../../cluster/fleet/load_model.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { type Answer, WorkerError } from "../../../core/wire/rpc.ts";
import { until } from "../../../bench/support/until.ts";
import { startFakeCluster } from "../../support/fake_workers.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

describe("a coordinator", () => {
  it("begins a new epoch when the current one fails, and not for one that is over", async () => {
    const settings = resolveSettings({}, { model: fixtureDirectory("tiny-mla"), device: "cpu", decode: { ranks: 1 } }, () => undefined);
    const coordinator = await Coordinator.start(settings, await loadClusterModel(settings, clusterServices), clusterServices);
    const events: string[] = [];
    coordinator.attach({
      up: ({ name, epoch }, fresh) => events.push(`${name} is up in epoch ${epoch}${fresh ? ", empty" : ""}`),
      down: ({ name }) => events.push(`${name} is down`),
      linked: () => events.push("linked"),
    });
    const [decode, prefill] = coordinator.units;
    const error = new LatentmeshError("timeout", "a rank was silent");
    const first = decode.epoch;
    coordinator.report(decode, error, first);
    await until(() => coordinator.usable(prefill, decode));
    assertEquals(decode.epoch, first + 1);
    coordinator.report(decode, error, first);
    assertEquals([decode.epoch, coordinator.usable(prefill, decode)], [first + 1, true]);
    assertEquals(events, [
      "decode-0 is up in epoch 1, empty",
      "prefill-0 is up in epoch 1, empty",
      "linked",
      "decode-0 is down",
      // The same process: what it caches is still there.
      "decode-0 is up in epoch 2",
      "linked",
    ]);
    await coordinator.close();
  });
});

describe("a coordinator of several units", () => {
  it("counts the loading of those that are there, all of it from the beginning, not of those that died over it", async () => {
    const seen: number[][] = [];
    await using cluster = await startFakeCluster(
      { decode: { ranks: 1 } },
      (worker, { kind }) => {
        if (kind === "assign") worker.say({ kind: "progress", loadedBytes: 50, totalBytes: 100 });
        return undefined;
      },
      ({ loadedBytes, totalBytes }) => seen.push([loadedBytes, totalBytes]),
    );
    assertEquals(seen, [[100, 200]], "nothing is told before all have said how much they load");
    for (let death = 0; death < 3; death++) {
      const { name } = cluster.worker("decode-0.0");
      cluster.worker("decode-0.0").kill();
      await until(() => cluster.worker("decode-0.0").name !== name && cluster.worker("decode-0.0").asked.includes("assign"));
    }
    await until(() => seen.length >= 4);
    assert(seen.every(([, total]) => total === 200), JSON.stringify(seen));
  });

  const TWO_GROUPS = { decode: { groups: 2, ranks: 2 } };

  it("repairs each by itself: none waits while another's worker loads", async () => {
    const loading = Promise.withResolvers<Answer>();
    await using cluster = await startFakeCluster(
      TWO_GROUPS,
      ({ name }, { kind }) => name === "decode-0.1/2" && kind === "assign" ? loading.promise : undefined,
    );
    const [first, second, prefill] = cluster.coordinator.units;
    cluster.worker("decode-0.1").kill();
    await until(() => cluster.worker("decode-0.1").asked.includes("assign"));
    cluster.worker("decode-1.0").kill();
    await until(() => second.epoch === 2 && cluster.coordinator.usable(prefill, second));
    assertEquals([second.epoch, first.formed], [2, false]);
    assert(/decode-0 is being repaired/.test(cluster.coordinator.degraded!), cluster.coordinator.degraded!);
    loading.resolve({ kind: "assigned", weightBytes: 1, cacheBytesPerToken: 1, times: {} });
    await until(() => first.epoch === 2 && cluster.coordinator.usable(prefill, first));
    assertEquals([first.epoch, second.epoch, prefill.epoch, cluster.coordinator.degraded], [2, 2, 1, null]);
    // For people, the latest first.
    assertEquals(cluster.coordinator.incidents.latest.map(({ kind, unit, rank }) => [kind, unit, rank]), [
      ["restored", "decode-0", null],
      ["restored", "decode-1", null],
      ["lost", "decode-1", 0],
      ["lost", "decode-0", 1],
    ]);
  });

  it("tells a worker once what it is to be, though others die while it loads", async () => {
    const loading = Promise.withResolvers<Answer>();
    let died = false;
    const starting = startFakeCluster({ decode: { ranks: 2 } }, (worker, { kind }) => {
      if (kind !== "assign") return;
      if (worker.name === "decode-0.0/1") return loading.promise;
      if (worker.name === "decode-0.1/1") queueMicrotask(() => (worker.kill(), died = true));
    });
    await until(() => died);
    await new Promise((resolve) => setTimeout(resolve, 500));
    loading.resolve({ kind: "assigned", weightBytes: 1, cacheBytesPerToken: 1, times: {} });
    await using cluster = await starting;
    assertEquals(cluster.worker("decode-0.0").asked.filter((kind) => kind === "assign"), ["assign"]);
    assertEquals(cluster.worker("decode-0.1").name, "decode-0.1/2");
  });

  it("does not take a worker that loads for one that is gone, though it answers nothing meanwhile", async () => {
    const { setTimeout, setInterval, performance } = globalThis;
    const now = performance.now.bind(performance);
    // A second is over in some milliseconds.
    globalThis.setInterval = ((call: () => void, ms: number) => setInterval(call, ms / 100)) as typeof setInterval;
    globalThis.setTimeout = ((call: () => void, ms: number) => setTimeout(call, ms / 100)) as typeof setTimeout;
    performance.now = () => now() * 100;
    try {
      let polls = 0;
      const loading = Promise.withResolvers<Answer>();
      const starting = startFakeCluster({ decode: { ranks: 1 } }, ({ place }, { kind }) => {
        if (place !== "decode-0.0") return;
        if (kind === "stats") polls++;
        return kind === "assign" || kind === "stats" ? loading.promise : undefined;
      });
      await until(() => polls > 0);
      // Twice as long as one that has loaded may be silent.
      for (let tick = 0; tick < 300; tick++) await new Promise((resolve) => setTimeout(resolve, 1));
      loading.resolve({ kind: "assigned", weightBytes: 1, cacheBytesPerToken: 1, times: {} });
      await using cluster = await starting;
      assertEquals(cluster.worker("decode-0.0").name, "decode-0.0/1");
    } finally {
      Object.assign(globalThis, { setTimeout, setInterval });
      performance.now = now;
    }
  });

  it("gives up a unit whose worker cannot be kept up and goes on with the others, or ends where it is to be strict or none is left", async () => {
    for (const strict of [false, true]) {
      let broken = false;
      const failing = ({ place }: { readonly place: string }, { kind }: { readonly kind: string }) => {
        if (broken && place === "decode-0.1" && kind === "assign") {
          return Promise.reject(new LatentmeshError("out_of_memory", "no room on this device"));
        }
      };
      await using cluster = await startFakeCluster({ ...TWO_GROUPS, cluster: { strict } }, failing);
      const { coordinator } = cluster;
      const [first, second, prefill] = coordinator.units;
      let ended: string | null = null;
      void coordinator.failed.catch(({ message }) => ended = message);
      broken = true;
      cluster.worker("decode-0.1").kill();
      await until(() => first.givenUp !== null);
      assertEquals(first.givenUp!.message, "no room on this device");
      if (strict) {
        await assertRejects(() => coordinator.failed, LatentmeshError, "no room");
        continue;
      }
      assertEquals([coordinator.usable(prefill, first), coordinator.usable(prefill, second), ended], [false, true, null]);
      assertEquals(coordinator.degraded, "decode-0 is given up: no room on this device");
      // Its other worker was ended, and nobody takes their places.
      await until(() => first.members.every((member) => member === null));
      const started = cluster.workers.length;
      broken = false;
      cluster.worker("decode-1.0").kill();
      await until(() => second.epoch === 2 && coordinator.usable(prefill, second));
      assertEquals(cluster.workers.length, started + 1);
      // The last group of all.
      coordinator.report(second, new LatentmeshError("timeout", "silent"), second.epoch);
      await until(() => second.epoch === 3 && second.formed);
      for (let failures = 0; ended === null && failures < 10; failures++) {
        const { length } = cluster.workers;
        cluster.worker("decode-1.0").kill();
        await until(() => ended !== null || cluster.workers.length > length);
      }
      assert(ended !== null && /decode-1.0 ended 5 times in a row/.test(ended), String(ended));
    }
  });

  it("blames the unit that a failure names, in its own epoch, and leaves the one that reported it alone", async () => {
    await using cluster = await startFakeCluster(TWO_GROUPS);
    const { coordinator } = cluster;
    const [first, second, prefill] = coordinator.units;
    const refused = (epoch: number, silent: string | null = null) =>
      new WorkerError("worker_lost", "latents were not taken", silent, { name: "decode-0", epoch });
    coordinator.report(prefill, refused(1), prefill.epoch);
    await until(() => first.epoch === 2 && coordinator.usable(prefill, first));
    assertEquals([prefill.epoch, second.epoch], [1, 1]);
    // Of an epoch that is over.
    coordinator.report(prefill, refused(1), prefill.epoch);
    assertEquals([first.epoch, first.formed, prefill.formed], [2, true, true]);
    // A worker that was silent is replaced.
    const silent = cluster.worker("decode-0.1").name;
    coordinator.report(prefill, refused(2, silent), prefill.epoch);
    await until(() => first.epoch === 3 && coordinator.usable(prefill, first));
    assert(cluster.worker("decode-0.1").name !== silent);
    assertEquals([cluster.worker("decode-0.0").name, prefill.epoch], ["decode-0.0/1", 1]);
  });

  it("is not brought down by a listener of progress that throws", async () => {
    const config = { decode: { ranks: 1 } };
    let told = 0;
    await using cluster = await startFakeCluster(config, () => undefined, () => {
      told++;
      throw new Error("a bug of the user's");
    });
    cluster.worker("decode-0.0").say({ kind: "progress", loadedBytes: 1, totalBytes: 2 });
    await until(() => told === 1);
    assertEquals(cluster.coordinator.units.map(({ formed, epoch }) => [formed, epoch]), [[true, 1], [true, 1]]);
  });
});
