import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { CELL_ID } from "../../../core/registry/cell_record.ts";
import { ApiClient } from "../../../cluster/registry/kubernetes/api_client.ts";
import { leaseName } from "../../../cluster/registry/kubernetes/lease.ts";
import { LeaseStore } from "../../../cluster/registry/kubernetes/lease_store.ts";
import { readLines } from "../../../cluster/registry/kubernetes/lines.ts";
import { KeptInKubernetes } from "../../support/kept_in_kubernetes.ts";

/** Names of objects as the API server checks them. */
const SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

const ids = fc.stringMatching(CELL_ID);

describe("names of Leases", () => {
  it("are names that Kubernetes takes, and another one for every id", async () => {
    await fc.assert(
      fc.asyncProperty(ids, ids, async (a, b) => {
        const [one, other] = [await leaseName(a), await leaseName(b)];
        assert(SUBDOMAIN.test(one), one);
        assertEquals(one === other, a === b);
      }),
      { seed: 26, numRuns: 500 },
    );
    // Those that are alike but for what Kubernetes does not have, and one that is written as if it had a hash.
    const alike = ["Cell-1", "cell-1", "cell_1", "cell.1", "cell--1", "cell-1-", "cell..1", "CELL-1"];
    const names = await Promise.all(alike.map(leaseName));
    const forged = names[0].replace("latentmesh-cell-", "");
    assertEquals(new Set([...names, await leaseName(forged)]).size, alike.length + 1);
    assertEquals(await leaseName("cell-1"), "latentmesh-cell-cell-1");
  });
});

describe("lines of a stream", () => {
  it("are the same however the stream is cut", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: "grapheme" })), fc.array(fc.nat(200)), async (lines, cuts) => {
        const bytes = new TextEncoder().encode(lines.join("\n"));
        const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
        const parts = at.slice(1).map((end, i) => bytes.slice(at[i], end));
        const read = await Array.fromAsync(readLines(ReadableStream.from(parts)));
        assertEquals(read, new TextDecoder().decode(bytes).split("\n").filter((line) => line.trim() !== ""));
      }),
      { seed: 26, numRuns: 200 },
    );
  });

  it("have a length that ends", async () => {
    const endless = new ReadableStream<Uint8Array<ArrayBuffer>>({ pull: (controller) => controller.enqueue(new Uint8Array(1 << 20).fill(120)) });
    await assertRejects(() => Array.fromAsync(readLines(endless)), Error, "longer than");
  });
});

describe("requests to the API server", () => {
  it("are made no more when nobody would close their connections", async () => {
    await using kept = await KeptInKubernetes.open({});
    const api = new ApiClient(kept.account);
    api[Symbol.dispose]();
    await assertRejects(() => api.ask({ method: "GET", path: "/version" }), Error, "any more");
  });
});

describe("a cell's Lease", () => {
  it("is not written over what another process has written, before that was read", async () => {
    await using kept = await KeptInKubernetes.open({});
    using api = new ApiClient(kept.account);
    const open = () => new LeaseStore(api, { namespace: "inference", labels: {}, pod: undefined, ttlMs: 1000 });
    const text = (instance: string, beat: number) => JSON.stringify({ id: "a", instance, beat });
    const store = open();
    await kept.keep("a", text("old", 1));
    assertEquals(await store.read("a"), text("old", 1));
    // The old one lives after all.
    await kept.keep("a", text("old", 2));
    await store.write("a", text("new", 0), "new");
    assertEquals(await store.read("a"), text("old", 2));
    await store.write("a", text("new", 1), "new");
    assertEquals((await kept.records()).get("a"), text("new", 1));
    const gets = kept.api.asked.get;
    assertEquals(await store.read("a"), text("new", 1));
    assertEquals(kept.api.asked.get, gets, "nobody is asked for what this store has written");
    // Of two that find nothing, one is first.
    await store.remove("a");
    const both = [open(), open()];
    for (const one of both) assertEquals(await one.read("a"), null);
    await Promise.all(both.map((one, i) => one.write("a", text(`${i}`, 0), `${i}`)));
    const first = (await kept.records()).get("a")!;
    assertEquals(await Promise.all(both.map((one) => one.read("a"))), [first, first]);
    // An answer that was lost is no conflict with anybody.
    const own = both[JSON.parse(first).instance];
    const [{ metadata }] = kept.api.leases;
    kept.api.set(`inference/${metadata.name}`, {
      ...kept.api.leases[0],
      metadata: { ...metadata, annotations: { ...metadata.annotations, other: "x" } },
    });
    await own.write("a", text(JSON.parse(first).instance, 1), JSON.parse(first).instance);
    assertEquals(JSON.parse((await kept.records()).get("a")!).beat, 1);
  });
});
