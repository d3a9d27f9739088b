import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { UNITS_TRIED } from "../../bench/linear/candidates.ts";
import { layersOf } from "../../bench/linear/layers.ts";
import { timeUnits } from "../../bench/linear/tune.ts";
import { chooseUnits, TABLE_URL, type UnitsTiming, withTable } from "../../bench/linear/units_table.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { configOf } from "../../core/model/synthetic/shapes.ts";
import type { UnitsDivision } from "../../kernels/linear/batch_units.ts";
import { UNITS_TABLES } from "../../kernels/linear/units_table.ts";
import { EmulatedDevice } from "../support/wgsl/emulated_device.ts";

const BASE: UnitsDivision = { columnParts: 4, outputParts: 1, outputTiles: 1, items: 16, depth: 64, ahead: 1 };

describe("the table of divisions on matrix units", () => {
  it("is written as it is kept", async () => {
    const file = await Deno.readTextFile(TABLE_URL);
    for (const bits of [16, 8, 4] as const) {
      const [, origin] = new RegExp(`\\n  // ([^\\n]*)\\.\\n  ${bits}: `).exec(file)!;
      const table = UNITS_TABLES[bits]!;
      assertEquals(withTable(file, bits, table, origin), file);
      const written = withTable(file, bits, { ...table, head: [[Infinity, BASE]] as const }, "Made up");
      assert(written.includes(`\n  // Made up.\n  ${bits}: {\n`) && written.includes("    head: [\n      [Infinity, { columnParts: 4, "));
      assertEquals(withTable(written, bits, table, origin), file, "and the others are as they were");
    }
  });

  it("has what is quickest for each number of rows, with parts of the columns alike", () => {
    const [four, fourAhead, eight] = [BASE, { ...BASE, ahead: 2 }, { ...BASE, columnParts: 8, depth: 128 }];
    const timed = (upTo: number, rows: number, times: readonly (readonly [UnitsDivision, number])[]): UnitsTiming[] =>
      times.map(([division, ms]) => ({ kind: "narrow", upTo, rows, division, ms }));
    // Eight parts are best for few rows, but four lose less for few than eight for many. One row counts as much as sixteen, which take longer.
    const timings = [
      ...timed(16, 1, [[four, 1.2], [fourAhead, 1.1], [eight, 1]]),
      ...timed(16, 16, [[four, 10], [fourAhead, 10.5], [eight, 10]]),
      ...timed(Infinity, 64, [[four, 20], [fourAhead, 22], [eight, 30]]),
    ];
    assertEquals(chooseUnits(timings), { narrow: [[16, fourAhead], [Infinity, four]] });
    assertEquals(chooseUnits(timings.filter(({ upTo }) => upTo === 16)), { narrow: [[16, eight]] });
    const apart = [...timed(16, 1, [[four, 1]]), ...timed(Infinity, 64, [[eight, 1]])];
    assertThrows(() => chooseUnits(apart), TypeError, "narrow");
  });

  it("can be had from every layer of a step: a few ways for each number of rows, of which all run", async () => {
    for (const tried of Object.values(UNITS_TRIED)) {
      assertEquals(tried.at(-1)!.upTo, Infinity);
      for (const { divisions } of tried) assert(divisions.length <= 8);
    }
    const small = {
      vocab_size: 96,
      hidden_size: 64,
      num_attention_heads: 2,
      kv_lora_rank: 32,
      qk_nope_head_dim: 16,
      v_head_dim: 16,
      qk_rope_head_dim: 16,
    };
    const experts = { intermediate_size: 64, moe_intermediate_size: 32, n_routed_experts: 3, n_shared_experts: 1, num_experts_per_tok: 2 };
    const spec = parseModelConfig(JSON.stringify({ ...JSON.parse(configOf("v2-lite", 2)), ...small, ...experts }), "small");
    const device = new EmulatedDevice();
    let ran = 0;
    const stopwatch = {
      async milliseconds(record: (run: number) => void): Promise<number> {
        record(0);
        await device.settle();
        return ++ran;
      },
    };
    // One layer of each kind that such a model has, which is too small for the widest.
    const layers = layersOf(spec).filter(({ name }) => ["experts up", "experts down", "shared up", "values"].includes(name));
    const timings = await timeUnits(device, stopwatch, layers, "bf16");
    const expected = (["expertUp", "expertDown", "narrow", "head"] as const).flatMap((kind) =>
      UNITS_TRIED[kind].flatMap(({ rows, divisions }) => divisions.flatMap(() => rows))
    );
    assertEquals(timings.map(({ rows }) => rows), expected);
    assertEquals(Object.keys(chooseUnits(timings)), ["expertUp", "expertDown", "narrow", "head"]);
    await device.close();
  });
});
