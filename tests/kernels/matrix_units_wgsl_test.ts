/**
 * Kernels for matrix units are WGSL that Dawn takes, in every variant; its null backend checks shaders on any machine.
 */
import { it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { matrixLayout } from "../../core/model/packing.ts";
import { absorbUnits } from "../../kernels/absorb/absorb_units.ts";
import { beside } from "../../kernels/device/beside.ts";
import { type Kernel, paramsDeclaration } from "../../kernels/authoring/contract.ts";
import { indexKeyConfig } from "../../kernels/index_keys/index_keys.ts";
import { indexScoresMatrix, indexScoresRows, sharesKeys } from "../../kernels/index_scores/matrix_units.ts";
import { batchUnits } from "../../kernels/linear/batch_units.ts";
import { headsUnits } from "../../kernels/linear/heads_units.ts";
import { matvec } from "../../kernels/linear/matvec.ts";
import { divideUnits, matmulUnits, UNITS_TILE_SIZES } from "../../kernels/linear/matmul_units.ts";
import { mlaPrefillMatrix, PREFILL_DIVISIONS } from "../../kernels/mla_prefill/matrix_units.ts";
import { prefillChosenMatrix } from "../../kernels/mla_prefill/prefill_chosen.ts";
import { SPARSE_DIVISIONS, sparsePrefill } from "../../kernels/sparse_prefill/sparse_prefill.ts";
import { ALL_STORED } from "../support/matrices.ts";
import { nullAbsence, unitsProblems } from "../support/null_device.ts";

const absent = nullAbsence;
const name = "kernels for matrix units are what Dawn takes";
if (absent !== null) it.skip(`${name}: skipped, ${absent}`);
else {
  it(name, async () => {
    const kernels: Record<string, string> = {};
    const add = <C>(what: string, kernel: Kernel<C, string, string>, config: C) =>
      kernels[`${kernel.name} ${what}`] = paramsDeclaration(kernel.params) + kernel.wgsl(config);
    for (const widths of [{ nopeWidth: 128, ropeWidth: 64, valueWidth: 128 }, { nopeWidth: 72, ropeWidth: 8, valueWidth: 64 }]) {
      for (const division of PREFILL_DIVISIONS) {
        const config = { heads: 16, scale: 0.1, split: 2048, ...widths, division };
        const what = `${Object.values(widths)} divided ${Object.values(division)}`;
        add(what, mlaPrefillMatrix, config);
        add(what, prefillChosenMatrix, { ...config, stride: 64 });
      }
    }
    for (const [heads, width] of [[16, 32], [64, 128], [128, 64], [128, 128]]) {
      for (const dtype of ["f16", "fp8"] as const) {
        const cache = { cache: indexKeyConfig(width, dtype), slots: 128, blockTokens: 64, tableWords: 2 };
        const config = { ...cache, heads, positions: 100 };
        add(`${heads} of ${width} in ${dtype}`, indexScoresMatrix, config);
        if (sharesKeys(config, 49152)) add(`${heads} of ${width} in ${dtype}, of rows`, indexScoresRows, config);
      }
    }
    const latents = { cache: { dtype: "f16", keyWidth: 512, ropeWidth: 64 }, slots: 128, valueOffset: 0, valueWidth: 512 } as const;
    for (const division of SPARSE_DIVISIONS) {
      add(`${Object.values(division)}`, sparsePrefill, { ...latents, heads: 128, scale: 0.1, topTokens: 2048, stride: 2048, division });
    }
    for (const [nopeWidth, keyWidth, ropeWidth] of [[128, 512, 64], [192, 512, 64], [32, 72, 8]]) {
      add(`${nopeWidth} to ${keyWidth}`, absorbUnits, { heads: 5, nopeWidth, queries: { dtype: "f16", keyWidth, ropeWidth } });
    }
    const plan = { items: 64, experts: 4, tileItems: 64 };
    for (const [format, scaling] of ALL_STORED.slice(1)) {
      const config = { layout: matrixLayout(format, 192, 32, scaling), outputs: 200, inputStride: 192, input: "rounded" } as const;
      for (const tileItems of UNITS_TILE_SIZES) {
        for (const limit of [49152, 20480]) {
          const all = { ...config, tileItems, output: "f32", select: { kind: "all" }, plan: null } as const;
          const experts = { ...all, select: { kind: "expert", perInput: 2 }, plan: { ...plan, tileItems } } as const;
          for (const output of ["f32", "f16"] as const) {
            add(`${format} ${scaling} to ${output} by ${tileItems}, ${limit} bytes`, matmulUnits, {
              ...all,
              output,
              division: divideUnits(all, limit)!,
            });
          }
          const heads = { ...config, tileItems, output: "f32", select: { kind: "head", heads: 3 } } as const;
          add(`${format} ${scaling} by ${tileItems}, ${limit} bytes`, headsUnits, {
            ...heads,
            division: divideUnits({ ...heads, plan: null }, limit)!,
          });
          add(`${format} ${scaling} experts by ${tileItems}, ${limit} bytes`, matmulUnits, { ...experts, division: divideUnits(experts, limit)! });
        }
      }
    }
    const decode = { columnParts: 4, outputParts: 1, outputTiles: 2, items: 16, depth: 64, ahead: 2 } as const;
    const divisions = [decode, { ...decode, outputParts: 2, items: 24, ahead: 1 }, { ...decode, columnParts: 2, outputTiles: 3, items: 4 }] as const;
    for (const [format, scaling] of ALL_STORED.slice(1)) {
      for (const select of [{ kind: "all" }, { kind: "head", heads: 3 }, { kind: "expert", perInput: 2 }] as const) {
        for (const columns of [192, 72]) {
          for (const output of ["f32", "f16", "activated"] as const) {
            for (const division of divisions) {
              const layout = matrixLayout(format, columns, 64, scaling);
              const config = { layout, outputs: 52, inputStride: columns, input: "rounded", output, select, mostItems: 20, division } as const;
              add(JSON.stringify({ format, scaling, select, columns, output, division }), batchUnits, config);
            }
          }
        }
      }
    }
    // In one dispatch with each other, and with what is computed in f32.
    const layer = { layout: matrixLayout("bf16", 192), outputs: 50, inputStride: 192, input: "plain", select: { kind: "all" } } as const;
    const units = { ...layer, input: "rounded", output: "f32", division: decode, mostItems: 20 } as const;
    const plain = { ...layer, itemsAtOnce: 4, threads: 128 };
    add("twice", beside(batchUnits, batchUnits, { x: "x" }), { first: units, second: { ...units, outputs: 70 } });
    add("and another's", beside(batchUnits, batchUnits, { x: "x" }), { first: units, second: { ...units, output: "activated" } });
    for (
      const [what, same, other] of [["of experts", {}, { kind: "expert", perInput: 2 }], ["of heads", { x: "x" }, {
        kind: "head",
        heads: 3,
      }]] as const
    ) {
      const second = { ...units, select: other };
      add(`and one ${what}`, beside(batchUnits, batchUnits, same), { first: units, second });
      add(`${what} and one`, beside(batchUnits, batchUnits, same), { first: second, second: units });
    }
    add("and f32", beside(matvec, batchUnits), { first: plain, second: units });
    assertEquals(await unitsProblems(kernels), []);
  });
}
