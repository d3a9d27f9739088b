/**
 * What brings units up.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { configureSync, type LogRecord, resetSync } from "@logtape/logtape";
import { planUnits } from "../../../cluster/planning/topology.ts";
import { checkConfig } from "../../../cluster/config/config.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { type Member, Unit } from "../../../cluster/fleet/unit.ts";
import { UnitKeeper } from "../../../cluster/fleet/unit_keeper.ts";

describe("a unit's keeper", () => {
  it("hears of every worker that has loaded, however soon after another", async () => {
    for (let between = 0; between < 12; between++) {
      const settings = resolveSettings({}, checkConfig({ decode: { ranks: 2 } }, "the configuration"), () => undefined);
      const unit = new Unit(planUnits(settings).find(({ role }) => role === "decode")!);
      unit.form = () => Promise.resolve(unit.formed = true);
      const loaded = unit.members.map(() => Promise.withResolvers<void>());
      let formed = false;
      const keeper = new UnitKeeper({
        unit,
        canAssign: () => true,
        assign: async (_, member) => {
          await loaded[member.slot.rank].promise;
          member.assigned = true;
        },
        onFormed: () => formed = true,
        onSilent: () => {},
        onGivenUp: (_, error) => assert(false, error.message),
      });
      unit.plan.slots.forEach((slot) => unit.members[slot.rank] = { slot, assigned: false } as Member);
      keeper.wake();
      await new Promise((resolve) => setTimeout(resolve));
      loaded[0].resolve();
      // So many turns of the queue of microtasks later.
      for (let turn = 0; turn < between; turn++) await null;
      loaded[1].resolve();
      await new Promise((resolve) => setTimeout(resolve));
      assert(formed, `the second worker loaded ${between} microtasks after the first, and nobody noticed`);
      keeper.close();
    }
  });

  it("says when a unit that was lost works again, and not when it first does", async () => {
    const lines: string[] = [];
    const kept = ({ message }: LogRecord) => lines.push(message.join(""));
    configureSync({ sinks: { kept }, loggers: [{ category: [], sinks: ["kept"], lowestLevel: "info" }], reset: true });
    try {
      const settings = resolveSettings({}, checkConfig({ decode: { ranks: 2 } }, "the configuration"), () => undefined);
      const unit = new Unit(planUnits(settings).find(({ role }) => role === "decode")!);
      unit.form = () => {
        unit.epoch++;
        return Promise.resolve(unit.formed = true);
      };
      const keeper = new UnitKeeper({
        unit,
        canAssign: () => true,
        assign: (_, member) => Promise.resolve(void (member.assigned = true)),
        onFormed: () => {},
        onSilent: () => {},
        onGivenUp: (_, error) => assert(false, error.message),
      });
      for (let life = 0; life < 2; life++) {
        unit.formed = false;
        unit.plan.slots.forEach((slot) => unit.members[slot.rank] = { slot, assigned: false } as Member);
        keeper.wake();
        await new Promise((resolve) => setTimeout(resolve));
        assert(unit.formed);
      }
      keeper.close();
    } finally {
      resetSync();
    }
    assertEquals(lines.filter((line) => line.includes("decode-0")), ["decode-0 works again, in epoch 2"]);
  });
});
