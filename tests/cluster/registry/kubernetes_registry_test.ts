/** The registry in Kubernetes, at an API server that fails as real ones do. */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { cellFacts } from "../../../bench/support/cell_records.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import type { CellFacts } from "../../../core/registry/registry.ts";
import { openRegistry } from "../../../cluster/registry/open_registry.ts";
import { findServiceAccount } from "../../../cluster/registry/kubernetes/service_account.ts";
import { until } from "../../../bench/support/until.ts";
import { ROOT } from "../../../bench/support/root.ts";
import { KeptInKubernetes } from "../../support/kept_in_kubernetes.ts";
import { neverLost, testRegistry } from "../../support/registry_contract.ts";

/** On a busy machine, watches may be silent for long. */
const TIMES = { beatMs: 50, pollMs: 20, ttlMs: 4000, silenceMs: 60_000 };
/** Where that is doubted. */
const DOUBTFUL = { ...TIMES, silenceMs: 100 };
/** What a cell says. */
const FACTS = cellFacts({ id: "a.b" });
const idsOf = ({ cells }: { readonly cells: readonly CellFacts[] }) => cells.map(({ id }) => id).toSorted();

/** A registry with a cell and a watch that has seen it. */
async function withCell(
  test: (parts: { kept: KeptInKubernetes; beat: () => number; cells: () => string[] }) => Promise<void>,
  times = TIMES,
): Promise<void> {
  await using kept = await KeptInKubernetes.open(times);
  await using _cell = await kept.registry.register(() => FACTS, neverLost);
  await using watch = await kept.registry.watch(() => {});
  await test({ kept, beat: () => watch.cells.find(({ id }) => id === FACTS.id)!.beat, cells: () => idsOf(watch) });
}

describe("a registry in Kubernetes, as all are", () => {
  testRegistry(() => KeptInKubernetes.openAny(TIMES));
});

describe("a registry in Kubernetes", () => {
  it("keeps a cell in a Lease that goes with its pod, in one request for each beat", () =>
    withCell(async ({ kept: { api }, beat }) => {
      const [{ metadata: { name, namespace, labels, ownerReferences }, spec }] = api.leases;
      assertEquals([name, namespace], ["latentmesh-cell-a.b", "inference"]);
      assertEquals(labels, { "app.kubernetes.io/managed-by": "latentmesh", "latentmesh/record": "cell" });
      assertEquals(ownerReferences, [{ apiVersion: "v1", kind: "Pod", name: "cell-0", uid: "uid-of-cell-0" }]);
      assertEquals(spec.leaseDurationSeconds, 4);
      assert(/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(spec.renewTime!));
      const [before, { get, create, patch }] = [beat(), { ...api.asked }];
      await until(() => beat() >= before + 10);
      assertEquals([api.asked.get, api.asked.create, create], [get, create, 1]);
      const beats = JSON.parse(api.leases[0].metadata.annotations["latentmesh/cell"]).beat;
      assert(api.asked.patch - patch <= beats - before + 1, "nothing is written twice");
    }));

  it("shows a token that was replaced as soon as it is", () =>
    withCell(async ({ kept: { api, account }, beat, cells }) => {
      for (const token of ["second", "third"]) {
        api.grant(token);
        await Deno.writeTextFile(`${account.directory}/token`, token);
        api.revoke(token === "second" ? "valid" : "second");
        const watched = api.asked.watch;
        api.endWatches();
        const before = beat();
        await until(() => beat() > before + 3 && api.asked.watch > watched);
        assertEquals(cells(), ["a.b"]);
      }
      // Between the reading of a token and its arrival, it may have been replaced.
      assert(api.asked["401"] <= 8, `${api.asked["401"]}`);
    }));

  for (const goneAs of ["event", "status"] as const) {
    it(`lists again where the server has forgotten what a watch asks for (410 as ${goneAs})`, () =>
      withCell(async ({ kept, beat, cells }) => {
        const { api } = kept;
        api.goneAs = goneAs;
        await kept.keep("short", JSON.stringify({ ...JSON.parse([...(await kept.records()).values()][0]), id: "short" }));
        await until(() => cells().length === 2);
        // What happens now, no watch tells.
        api.mute = true;
        api.set("inference/latentmesh-cell-short", null);
        await using _new = await kept.registry.register(() => ({ ...FACTS, id: "new" }), neverLost);
        api.compact();
        api.mute = false;
        const [{ list }, before] = [{ ...api.asked }, beat()];
        api.endWatches(new Error("reset"));
        await until(() => cells().includes("new") && beat() > before);
        assert(api.asked.list > list);
        // It may be known for as long as a cell that fell silent is.
        await until(() => cells().join() === "a.b,new");
      }));
  }

  it("goes on where a watch has ended, without listing, thanks to bookmarks also where others have changed much", () =>
    withCell(async ({ kept, beat, cells }) => {
      const { api } = kept;
      assertEquals(api.asked.list, 1);
      for (let time = 0; time < 3; time++) {
        const before = beat();
        api.endWatches();
        await until(() => beat() > before + 2);
      }
      assertEquals([api.asked.list, cells()], [1, ["a.b"]]);
      // Of a fleet that is silent, only bookmarks tell how far its reader is.
      api.bookmarkMs = 20;
      const quiet = kept.named("kubernetes?fleet=quiet", TIMES);
      await using watch = await quiet.watch(() => {});
      const { list, watch: watches } = api.asked;
      const { revision } = api;
      await until(() => api.revision > revision + 5);
      const [forgotten, { bookmarks }] = [api.revision, api];
      await until(() => api.bookmarks > bookmarks + 1 && beat() > 10);
      api.compact(forgotten);
      api.endWatches();
      await until(() => api.asked.watch >= watches + 2 && api.watchers === 2);
      assertEquals(api.asked.list, list);
      assertEquals(watch.cells, []);
    }));

  it("doubts a watch that says nothing, without giving up who is there", () =>
    withCell(async ({ kept: { api }, beat, cells }) => {
      api.mute = true;
      const [{ list }, before] = [{ ...api.asked }, beat()];
      await until(() => api.asked.list > list + 2 && beat() > before);
      assertEquals(cells(), ["a.b"]);
      api.mute = false;
      await until(() => beat() > before + 10);
    }, DOUBTFUL));

  it("keeps who is there while the server takes requests and answers none", () =>
    withCell(async ({ kept: { api }, beat, cells }) => {
      const gone: number[] = [];
      const checker = setInterval(() => cells().length === 0 && gone.push(performance.now()), 5);
      const { promise, resolve } = Promise.withResolvers<void>();
      api.mute = true;
      api.hanging = promise;
      const before = beat();
      // Longer than a cell may be silent.
      await new Promise((resolve) => setTimeout(resolve, 1.25 * TIMES.ttlMs));
      api.mute = false;
      api.hanging = null;
      resolve();
      await until(() => beat() > before + 3);
      clearInterval(checker);
      assertEquals(gone, []);
    }, DOUBTFUL));

  it("takes a cell for gone that is silent, also where every watch is", async () => {
    await using kept = await KeptInKubernetes.open({ ...DOUBTFUL, ttlMs: 600 });
    const cell = await kept.registry.register(() => FACTS, neverLost);
    const text = (await kept.records()).get(FACTS.id)!;
    await cell.close();
    await kept.keep(FACTS.id, text);
    kept.api.mute = true;
    await using watch = await kept.registry.watch(() => {});
    assertEquals(idsOf(watch), ["a.b"]);
    await until(() => watch.cells.length === 0);
    assert(kept.api.asked.list > 1, "it was looked for again and again");
  });

  it("leaves a server alone that has too much to do, for as long as it asks", () =>
    withCell(async ({ kept: { api }, beat, cells }) => {
      const before = beat();
      api.overloaded = 3;
      api.endWatches();
      await until(() => api.asked.patch > 0 && api.asked.watch > 1);
      await new Promise((resolve) => setTimeout(resolve, 100));
      const { patch, watch, list } = api.asked;
      await new Promise((resolve) => setTimeout(resolve, 400));
      assertEquals([api.asked.patch, api.asked.watch, api.asked.list], [patch, watch, list]);
      assertEquals(cells(), ["a.b"]);
      api.overloaded = null;
      await until(() => beat() > before + 3);
    }));

  it("writes on top of what others change in its Lease, and of no other process's record", () =>
    withCell(async ({ kept: { api }, beat }) => {
      const place = "inference/latentmesh-cell-a.b";
      for (const colour of ["red", "blue"]) {
        const [lease] = api.leases;
        api.set(place, { ...lease, metadata: { ...lease.metadata, labels: { ...lease.metadata.labels, colour } } });
        const before = beat();
        await until(() => beat() > before + 2);
        assertEquals(api.leases[0].metadata.labels.colour, colour);
      }
      api.set(place, null);
      const before = beat();
      await until(() => beat() > before + 2 && api.leases.length === 1);
    }));

  it("says which right is missing", async () => {
    await using kept = await KeptInKubernetes.open(TIMES);
    const { api, registry } = kept;
    api.grant("valid", ["list", "get"]);
    const reading = await assertRejects(() => registry.watch(() => {}), LatentmeshError);
    assertEquals(reading.code, "unauthorized");
    assertStringIncludes(reading.message, "cannot watch resource");
    assertStringIncludes(reading.message, "rbac.yaml");
    const writing = await assertRejects(() => registry.register(() => FACTS, neverLost), LatentmeshError);
    assertEquals(writing.code, "capacity");
    assertStringIncludes(writing.message, "cannot create resource");
    api.revoke("valid");
    const stranger = await assertRejects(() => registry.watch(() => {}), LatentmeshError);
    assertEquals(stranger.code, "unauthorized");
    // What the roles of deploy/kubernetes give is enough: fronts change nothing, and cells look at no others.
    api.grant("valid", ["create", "get", "patch", "delete"]);
    const cell = await registry.register(() => FACTS, neverLost);
    await until(() => api.asked.patch > 1);
    api.grant("valid", ["list", "watch"]);
    await using watch = await registry.watch(() => {});
    assertEquals(idsOf(watch), ["a.b"]);
    api.grant("valid");
    await cell.close();
    assertEquals(api.leases, []);
  });

  it("believes only a server whose certificate the account's authority has signed, and reads that again", async () => {
    await using kept = await KeptInKubernetes.open(TIMES);
    const { account, registry } = kept;
    const right = await Deno.readTextFile(`${account.directory}/ca.crt`);
    await Deno.copyFile(`${ROOT}/tests/support/tls/hosts/ca.pem`, `${account.directory}/ca.crt`);
    const error = await assertRejects(() => registry.watch(() => {}), LatentmeshError);
    assertEquals(error.code, "not_found");
    await Deno.writeTextFile(`${account.directory}/ca.crt`, right);
    await using watch = await registry.watch(() => {});
    await Deno.writeTextFile(`${account.directory}/ca.crt`, `${right}\n${right}`);
    await using _cell = await registry.register(() => FACTS, neverLost);
    kept.api.endWatches();
    await until(() => watch.cells.length === 1);
  });

  it("has as many registries in a namespace as there are labels, and in every namespace", async () => {
    await using kept = await KeptInKubernetes.open(TIMES);
    const names = ["kubernetes:blue", "kubernetes?fleet=one", "kubernetes?fleet=two&tier=gold"];
    const registries = names.map((name) => kept.named(name));
    assertEquals(registries.map(({ name }) => name), names);
    await using stack = new AsyncDisposableStack();
    for (const [i, registry] of registries.entries()) stack.use(await registry.register(() => ({ ...FACTS, id: `cell-${i}` }), neverLost));
    const watches = await Promise.all(
      [...registries, kept.named("kubernetes"), kept.named("kubernetes?tier=gold")].map((one) => one.watch(() => {})),
    );
    for (const watch of watches) stack.use(watch);
    assertEquals(watches.map(idsOf), [["cell-0"], ["cell-1"], ["cell-2"], ["cell-1", "cell-2"], ["cell-2"]]);
    assertEquals(kept.api.leases.map(({ metadata: { namespace } }) => namespace), ["blue", "inference", "inference"]);
  });

  it("reads long lists in pages, and again from the first where a page has expired", async () => {
    await using kept = await KeptInKubernetes.open(TIMES);
    const [cells, { api }] = [1100, kept];
    const cell = await kept.registry.register(() => FACTS, neverLost);
    const record = JSON.parse((await kept.records()).get(FACTS.id)!);
    await cell.close();
    for (let i = 0; i < cells; i++) await kept.keep(`cell-${i}`, JSON.stringify({ ...record, id: `cell-${i}` }));
    api.expireNextPage = true;
    await assertRejects(() => kept.registry.watch(() => {}), LatentmeshError, "too old");
    await using watch = await kept.registry.watch(() => {});
    assertEquals(watch.cells.length, cells);
    assertEquals(api.asked.list, 2 + 3);
    // A watch that must begin anew finds a page that has expired.
    api.mute = true;
    await kept.keep("cell-0", JSON.stringify({ ...record, id: "cell-0", beat: 7 }));
    api.compact();
    api.mute = false;
    api.expireNextPage = true;
    api.endWatches();
    await until(() => api.asked.list >= 5 + 2 + 3 && watch.cells.some(({ beat }) => beat === 7));
    assertEquals(watch.cells.length, cells);
  });

  it("takes nothing away at its end that is another's by then", async () => {
    await using kept = await KeptInKubernetes.open({ ...TIMES, beatMs: 100_000 });
    const cell = await kept.registry.register(() => FACTS, neverLost);
    const other = JSON.stringify({ ...JSON.parse((await kept.records()).get(FACTS.id)!), instance: "other", incarnation: 2 });
    await kept.keep(FACTS.id, other);
    await cell.close();
    assertEquals((await kept.records()).get(FACTS.id), other);
  });
});

describe("the name of a registry in Kubernetes", () => {
  it("has a namespace and labels that Kubernetes allows", () => {
    for (const name of ["kubernetes", "kubernetes:a-b1", "kubernetes:a?x=y&example.com/fleet=B_1.2", "kubernetes?x="]) {
      assertEquals(openRegistry(name).name, name);
    }
    const wrong = [
      "kubernetes:",
      "kubernetes:A",
      "kubernetes://host",
      "kubernetes:a/b",
      "kubernetes?",
      "kubernetes?x",
      "kubernetes?x=y=z",
      "kubernetes?-=y",
      "kubernetes?x=-",
    ];
    for (const name of wrong) assertEquals(assertThrows(() => openRegistry(name), LatentmeshError).code, "invalid_config", name);
    assertThrows(() => openRegistry("kubernetesx"), LatentmeshError, "is no registry");
  });

  it("needs a pod, and takes from it what Kubernetes gives", () => {
    const find = (env: Record<string, string>) => findServiceAccount((name) => env[name]);
    assertStringIncludes(assertThrows(() => find({}), LatentmeshError).message, "this is no pod");
    const directory = "/var/run/secrets/kubernetes.io/serviceaccount";
    assertEquals(find({ KUBERNETES_SERVICE_HOST: "10.0.0.1" }), { server: "https://10.0.0.1:443", directory, pod: undefined });
    const env = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "6443", LATENTMESH_KUBE_ACCOUNT: "/x", POD_NAME: "a", POD_UID: "b" };
    assertEquals(find(env), { server: "https://[fd00::1]:6443", directory: "/x", pod: { name: "a", uid: "b" } });
  });
});
