import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../core/errors.ts";
import { matrixLayout } from "../../core/model/packing.ts";
import { absorb } from "../../kernels/absorb/absorb.ts";
import { latentDecode } from "../../kernels/latent_decode/latent_decode.ts";
import { DEFAULT_SPLITTING } from "../../kernels/latent_decode/splits.ts";
import { batchMatvec } from "../../kernels/linear/batch_matvec.ts";
import { batchUnits } from "../../kernels/linear/batch_units.ts";
import { decodeWays } from "../../kernels/linear/choose.ts";
import { matvec } from "../../kernels/linear/matvec.ts";
import { canNormalise, normMatvec } from "../../kernels/linear/norm_matvec.ts";
import { moePlan } from "../../kernels/moe_plan/moe_plan.ts";
import { moeRoute } from "../../kernels/moe_route/moe_route.ts";
import { ropeStore, type RopeStoreConfig } from "../../kernels/rope_store/rope_store.ts";

/** What every device has. */
const LEAST_LIMIT = 16384;
const ELEMENT_BYTES: Readonly<Record<string, number>> = { f32: 4, u32: 4, "atomic<u32>": 4, "vec2<f32>": 8, "vec4<f32>": 16, "vec4<u32>": 16 };

/** Bytes of the variables that a source declares in workgroup memory, the lengths of arrays being expressions of its constants. */
function declaredBytes(source: string): number[] {
  const constants = new Map(Array.from(source.matchAll(/^const (\w+)(?:: u32)? = (.+?);/gm), ([, name, value]) => [name, value]));
  const evaluate = (expression: string): unknown => {
    // Division of integers, as in WGSL.
    const integers = expression.replace(/\b(\d+)u?\b/g, "$1n");
    const scope = new Proxy({}, {
      has: () => true,
      get: (_, name) =>
        name === Symbol.unscopables
          ? undefined
          : name === "select"
          ? (no: bigint, yes: bigint, condition: boolean) => condition ? yes : no
          : name === "max"
          ? (a: bigint, b: bigint) => a > b ? a : b
          : evaluate(constants.get(String(name))!),
    });
    return new Function("scope", `with (scope) { return ${integers}; }`)(scope);
  };
  const variables = [...source.matchAll(/^var<workgroup> \w+: (?:array<([\w<>]+), (.+)>|(.+));/gm)];
  assert(variables.length > 0);
  return variables.map(([, element, length, scalar]) =>
    scalar === undefined ? ELEMENT_BYTES[element] * Number(evaluate(length)) : ELEMENT_BYTES[scalar]
  );
}

function sum(bytes: readonly number[]): number {
  return bytes.reduce((a, b) => a + b, 0);
}

describe("workgroup memory", () => {
  it("of kernels that run beside others is what their sources declare", () => {
    for (const format of ["f32", "bf16", "q8", "q4"] as const) {
      const sizes = [[64, 2048, 1], [64, 2048, 4, true], [5632, 2048, 1], [13, 96, 4], [102400, 3072, 1]] as const;
      for (const [outputs, columns, itemsAtOnce, manyItems = false] of sizes) {
        const config = {
          layout: matrixLayout(format, columns, 32),
          outputs,
          inputStride: columns,
          input: "plain" as const,
          select: { kind: "all" as const },
          itemsAtOnce,
          manyItems,
        };
        const name = `matvec ${format} ${outputs} × ${columns} × ${itemsAtOnce}`;
        assertEquals(matvec.workgroupBytes!(config), declaredBytes(matvec.wgsl(config)), name);
        const single = { ...config, itemsAtOnce: 1, eps: 1e-6, keeps: "f32" } as const;
        if (!canNormalise(single)) continue;
        const bytes = normMatvec.workgroupBytes!(single);
        assertEquals(bytes, declaredBytes(normMatvec.wgsl(single)), `norm_${name}`);
        assert(sum(bytes) <= LEAST_LIMIT, `norm_${name} takes ${bytes} bytes, and runs by itself on every device`);
      }
      for (
        const { matrices, ...shape } of [
          { outputs: 5632, columns: 2048, select: { kind: "all" }, matrices: 1 },
          { outputs: 102400, columns: 3072, select: { kind: "all" }, matrices: 1 },
          { outputs: 128, columns: 512, select: { kind: "head", heads: 16 }, matrices: 16 },
          { outputs: 2816, columns: 2048, select: { kind: "expert", perInput: 6 }, matrices: 64 },
        ] as const
      ) {
        const layout = matrixLayout(format, shape.columns, 128);
        const ways = (units: boolean) => decodeWays({ ...shape, layout, matrices }, { rows: 64, units, workgroupLimit: units ? 49152 : LEAST_LIMIT });
        const divisions = ways(false).flatMap(({ division }) => division ?? []);
        assert(divisions.length > 0 || shape.select.kind === "head", "every device runs tiles");
        for (const division of divisions) {
          const config = { ...shape, layout, inputStride: shape.columns, input: "plain" as const, division, mostItems: 64 };
          const name = `batch_matvec ${format} ${shape.select.kind} ${JSON.stringify(division)}`;
          assertEquals(batchMatvec.workgroupBytes!(config), declaredBytes(batchMatvec.wgsl(config)), name);
        }
        for (const division of ways(true).flatMap(({ units }) => units ?? [])) {
          const config = { ...shape, layout, inputStride: shape.columns, input: "rounded", output: "f32", division, mostItems: 64 } as const;
          const name = `batch_units ${format} ${shape.select.kind} ${JSON.stringify(division)}`;
          assertEquals(batchUnits.workgroupBytes!(config), declaredBytes(batchUnits.wgsl(config)), name);
        }
      }
      const queries = { dtype: "f32", keyWidth: 512, ropeWidth: 64 } as const;
      const config = { layout: matrixLayout(format, 512, 32), heads: 16, rows: 128, tokensAtOnce: 4, inputStride: 192, queries };
      assertEquals(absorb.workgroupBytes!(config), declaredBytes(absorb.wgsl(config)), `absorb ${format}`);
    }
    for (const basis of ["diagonal", "dense", { sliced: 320 }] as const) {
      const config: RopeStoreConfig = {
        cache: { dtype: "f16", keyWidth: 256, ropeWidth: 64 },
        latentWidth: 512,
        rowStride: 576,
        eps: 1e-6,
        basis,
        slots: 64,
        heads: 16,
        queryWidth: 192,
        queries: { dtype: "f32", keyWidth: 256, ropeWidth: 64 },
        interleaved: true,
        positions: 64,
        shortPositions: 0,
      };
      assertEquals(ropeStore.workgroupBytes!(config), declaredBytes(ropeStore.wgsl(config)), `rope_store ${JSON.stringify(basis)}`);
    }
    for (const experts of [64, 100, 384]) {
      const config = {
        experts,
        activeExperts: 6,
        scoring: "softmax",
        groups: 4,
        activeGroups: 2,
        groupScore: "max",
        normalize: true,
        routedScale: 1,
        threads: 128,
      } as const;
      assertEquals(moeRoute.workgroupBytes!(config), declaredBytes(moeRoute.wgsl(config)), `moe_route of ${experts}`);
    }
  });

  it("of plans for experts is no more than every device has", () => {
    const config = { items: 4096, tileItems: 64 };
    for (const experts of [1, 3, 64, 72, 128, 160, 256, 257, 384, 512, 1024, 1365]) {
      const bytes = sum(declaredBytes(moePlan.wgsl({ ...config, experts })));
      assert(bytes <= LEAST_LIMIT, `${experts} experts take ${bytes} bytes`);
    }
    assertThrows(() => moePlan.wgsl({ ...config, experts: 1366 }), LatentmeshError, "1366 experts");
  });

  it("of plain decode attention is no more than the device allows", () => {
    const shape = { slots: 64, tableWords: 1, valueOffset: 0, scale: 1, ...DEFAULT_SPLITTING, subgroups: 0 };
    for (const [heads, keyWidth] of [[16, 512], [128, 512], [20, 256], [4, 128], [16, 1024]]) {
      for (const workgroupLimit of [LEAST_LIMIT, 49152]) {
        const cache = { dtype: "f16", keyWidth, ropeWidth: 64 } as const;
        const bytes = sum(declaredBytes(latentDecode.wgsl({ ...shape, cache, heads, valueWidth: keyWidth, workgroupLimit })));
        assert(bytes <= workgroupLimit, `${heads} heads × ${keyWidth} take ${bytes} bytes of ${workgroupLimit}`);
      }
    }
  });
});
