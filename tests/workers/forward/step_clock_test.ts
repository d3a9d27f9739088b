/**
 * What the time of a step goes into.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import type { StepParts } from "../../../core/step_times.ts";
import { newCounters } from "../../../kernels/device/device.ts";
import { Engine } from "../../../cluster/local_engine.ts";
import { type Doing, StepClock } from "../../../workers/forward/step_clock.ts";
import { SEED } from "../../../bench/support/random.ts";

const MAKE_UP = ["record", "encode", "submit", "readback", "peer", "sum", "handoff", "rest"] as const;

function whole(parts: Readonly<StepParts>): number {
  return MAKE_UP.reduce((sum, part) => sum + parts[`${part}Ms`], 0);
}

describe("a step's clock", () => {
  it("divides the whole of a step, and takes out of what is done what the device counts itself", async () => {
    const doings = fc.constantFrom<Doing>("record", "readback", "peer", "sum", "handoff", "rest");
    const spans = fc.array(fc.record({ doing: doings, ms: fc.nat(1000), encode: fc.nat(50), submit: fc.nat(50) }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(spans, fc.nat(1000), async (spans, last) => {
        let now = 5000;
        // What was counted before is no part of it.
        const device = {
          counters: { ...newCounters(), encodeMs: 77, submissions: 3 },
          keepsTimes: false,
          forgetTime() {},
          takeTime: () => Promise.resolve(0),
        };
        const clock = new StepClock(device, () => now);
        clock.lap("record");
        clock.begin("decode");
        const expected = new Map<Doing, number>();
        for (const { doing, ms, encode, submit } of spans) {
          now += ms + encode + submit;
          device.counters.encodeMs += encode;
          device.counters.submitMs += submit;
          device.counters.submissions++;
          clock.lap(doing);
          expected.set(doing, (expected.get(doing) ?? 0) + ms);
        }
        now += last;
        await clock.end();
        const { decode, prefill } = clock.totals;
        assertEquals([decode.steps, decode.submissions, decode.deviceMs], [1, spans.length, null]);
        assertEquals(whole(decode), now - 5000);
        expected.set("rest", (expected.get("rest") ?? 0) + last);
        for (const [doing, ms] of expected) assertEquals(decode[`${doing}Ms`], ms, doing);
        assertEquals([prefill.steps, whole(prefill)], [0, 0]);
      }),
      { seed: SEED },
    );
  });

  it("forgets a step that did not end, and asks for the device's time where it is kept", async () => {
    let now = 0;
    const clock = new StepClock({ counters: newCounters(), keepsTimes: true, forgetTime() {}, takeTime: () => Promise.resolve(4) }, () => now);
    clock.begin("prefill");
    now = 100;
    clock.lap("record");
    clock.begin("prefill");
    now = 103;
    await clock.end();
    await clock.end();
    assertEquals([clock.totals.prefill.steps, whole(clock.totals.prefill), clock.totals.prefill.deviceMs], [1, 3, 4]);
  });

  it("says that nothing is computed after a step that failed, of which it counts nothing", async () => {
    let now = 0;
    const clock = new StepClock({ counters: newCounters(), keepsTimes: false, forgetTime() {}, takeTime: () => Promise.resolve(0) }, () => now);
    clock.begin("decode");
    now = 10;
    clock.lap("record");
    clock.drop();
    now = 1000;
    assertEquals(clock.phase, null);
    await clock.end();
    assertEquals([clock.totals.decode.steps, whole(clock.totals.decode)], [0, 0]);
  });

  it("says between the steps of a stream what is computed, and that nothing is some time after the last", async () => {
    let now = 0;
    const clock = new StepClock({ counters: newCounters(), keepsTimes: false, forgetTime() {}, takeTime: () => Promise.resolve(0) }, () => now);
    assertEquals(clock.phase, null);
    for (const phase of ["prefill", "decode"] as const) {
      clock.begin(phase);
      now += 3000;
      assertEquals(clock.phase, phase);
      await clock.end();
      now += 20;
      assertEquals(clock.phase, phase);
    }
    now += 1000;
    assertEquals(clock.phase, null);
  });

  it("counts the steps of one process, and prefill chunks apart from them", async () => {
    const engine = await Engine.load({ model: "synthetic:tiny?layers=2", device: "cpu", deviceTimes: true });
    for await (const _ of engine.generate({ prompt: "Once", maxTokens: 5, ignoreEos: true }));
    const { steps, parts: { decode, prefill } } = await engine.work();
    // The first token comes of the prompt.
    assertEquals([steps.steps, steps.rows, decode.steps, prefill.steps], [4, 4, 4, 1]);
    for (const parts of [decode, prefill]) {
      assert(parts.recordMs >= parts.deviceMs! && parts.deviceMs! > 0, "on this device, recording is computing");
      assertEquals([parts.peerMs, parts.sumMs, parts.handoffMs], [0, 0, 0]);
    }
    assert(steps.tellMs > 0 && steps.betweenMs > 0);
    await engine.close();
  });
});
