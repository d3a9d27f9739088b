import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { Incidents } from "../../../cluster/fleet/incidents.ts";

describe("incidents", () => {
  it("are remembered with their time, the latest first, and not for ever", () => {
    let now = 0;
    const incidents = new Incidents(() => ++now);
    assertEquals(incidents.latest, []);
    incidents.add("lost", "decode-0", { rank: 1, message: "it ended" });
    incidents.add("restored", "decode-0");
    assertEquals(incidents.latest, [
      { at: 2, kind: "restored", unit: "decode-0", rank: null, message: "" },
      { at: 1, kind: "lost", unit: "decode-0", rank: 1, message: "it ended" },
    ]);
    for (let i = 0; i < 100; i++) incidents.add("failed", "prefill-0");
    assertEquals([incidents.latest.length, incidents.latest[0].at, incidents.latest.at(-1)!.at], [20, 102, 83]);
  });
});
