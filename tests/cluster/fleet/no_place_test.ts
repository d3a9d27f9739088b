import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { noPlaceFor } from "../../../cluster/fleet/no_place.ts";
import type { Slot } from "../../../cluster/planning/topology.ts";

const slot = (name: string, host: string, remote: boolean): Slot => ({ name, rank: 0, host, gpu: null, remote });
const slots = [slot("decode-0.0", "a", false), slot("decode-0.1", "b", true), slot("prefill-0.0", "b", true), slot("prefill-1.0", "c", true)];
const held = { "decode-0.1": "ws://10.0.0.2:1", "prefill-0.0": "ws://10.0.0.2:2" } as Record<string, string>;
const refusal = (worker: string, host: string, address: string, addresses: Record<string, string> = held, among = slots) => {
  const { code, message } = noPlaceFor(worker, { host, address }, among, ({ name }) => addresses[name] ?? null);
  return `${code}: ${message}`;
};

describe("a worker that there is no place for", () => {
  it("is told which names there are, or that its name is another's, or to come again", () => {
    assertEquals(refusal("x.0/1", "x", "ws://10.0.0.9:1"), 'unauthorized: no host "x" joins here; change --name to b or c');
    assertEquals(refusal("a.0/1", "a", "ws://10.0.0.9:1"), 'unauthorized: no host "a" joins here; change --name to b or c');
    assertEquals(
      refusal("x.0/1", "x", "ws://10.0.0.9:1", {}, slots.slice(0, 1)),
      "unauthorized: no host joins this cluster: none in cluster.hosts has join: true",
    );
    assertEquals(refusal("b.0/1", "b", "ws://10.0.0.9:1"), 'unauthorized: another machine, 10.0.0.2, has joined as "b"; change --name');
    // The same machine: its predecessor is not known to be gone, or it is one too many.
    assertEquals(
      refusal("b.0/2", "b", "ws://10.0.0.2:9"),
      "capacity: Worker b.0/2: all 2 places of host b are taken (decode-0.1, prefill-0.0); it waits for one to become free: " +
        "more units or GPUs in the cluster file would use it, fewer --gpus would not start it",
    );
    // A place that is kept for nobody: its unit has been given up.
    assertEquals(refusal("b.0/1", "b", "ws://10.0.0.9:1", {}), "capacity: Worker b.0/1: there is no free place for host b");
    // Of this host: a process whose place the next one has.
    assertEquals(refusal("decode-0.0/1", "a", "unix:/tmp/x"), "capacity: Worker decode-0.0/1: there is no free place for host a");
  });
});
