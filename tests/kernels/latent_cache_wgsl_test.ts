/**
 * Kernels over cached latents are WGSL that Dawn takes, in every precision; its null backend checks shaders on any machine.
 */
import { it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { type Kernel, paramsDeclaration } from "../../kernels/authoring/contract.ts";
import type { CacheConfig } from "../../kernels/latent_cache/layout.ts";
import { latentDecode } from "../../kernels/latent_decode/latent_decode.ts";
import { divideForMatrixUnits, latentDecodeMatrix, splittingFor } from "../../kernels/latent_decode/matrix_units.ts";
import { DEFAULT_SPLITTING } from "../../kernels/latent_decode/splits.ts";
import { latentExport } from "../../kernels/latent_export/latent_export.ts";
import { gathersHalves, latentGather } from "../../kernels/latent_gather/latent_gather.ts";
import { latentSlice } from "../../kernels/latent_slice/latent_slice.ts";
import { ropeStore } from "../../kernels/rope_store/rope_store.ts";
import { nullAbsence, unitsProblems } from "../support/null_device.ts";

const name = "kernels over latents are what Dawn takes";
if (nullAbsence !== null) it.skip(`${name}: skipped, ${nullAbsence}`);
else {
  it(name, async () => {
    const kernels: Record<string, string> = {};
    const add = <C>(what: string, kernel: Kernel<C, string, string>, config: C) =>
      kernels[`${kernel.name} ${what}`] = paramsDeclaration(kernel.params) + kernel.wgsl(config);
    const whole = { keyWidth: 512, ropeWidth: 64 };
    const caches: Record<string, CacheConfig> = {
      f32: { dtype: "f32", ...whole },
      f16: { dtype: "f16", ...whole },
      q8: { dtype: "q8", ...whole },
      "q8 of a slice": { dtype: "q8", keyWidth: 320, ropeWidth: 64, groups: [64, 128, 128] },
      "q8 of odd groups": { dtype: "q8", keyWidth: 61, ropeWidth: 6, groups: [13, 48] },
    };
    const slots = { slots: 128, tableWords: 2 };
    for (const [what, cache] of Object.entries(caches)) {
      const { dtype, keyWidth, ropeWidth, groups = [keyWidth] } = cache;
      const store = {
        cache,
        latentWidth: 512,
        rowStride: 576,
        eps: 1e-6,
        slots: 128,
        heads: 16,
        queryWidth: 192,
        interleaved: true,
        positions: 64,
        shortPositions: 0,
      };
      const queries = { dtype: "f16", keyWidth, ropeWidth } as const;
      for (const basis of ["dense", "diagonal", { sliced: 300 }] as const) {
        add(`${what} ${JSON.stringify(basis)}`, ropeStore, { ...store, basis, queries });
      }
      for (const output of gathersHalves(cache) ? ["f32", "f16"] as const : ["f32"] as const) {
        add(`${what} to ${output}`, latentGather, { cache, ...slots, output });
      }
      const columns = [{ begin: 0, end: groups[0] }, ...(groups.length > 2 ? [{ begin: groups[0] + groups[1], end: keyWidth }] : [])];
      add(what, latentExport, { cache, ...slots, columns });
      add(what, latentSlice, { cache, ...slots, columns, kept: { ...slots, blockTokens: 128 } });
      for (const heads of [16, 64]) {
        const shape = { cache, ...slots, heads, valueOffset: 0, valueWidth: keyWidth, scale: 0.1 };
        add(`${what}, ${heads} heads`, latentDecode, { ...shape, ...DEFAULT_SPLITTING, subgroups: 32, workgroupLimit: 49152 });
        const division = divideForMatrixUnits(shape, 49152);
        assertEquals(division === null, dtype === "f32" || keyWidth % 16 !== 0, `${what} on matrix units`);
        if (division === null) continue;
        assert(dtype === "f16" || division.inTurn !== true);
        add(`${what}, ${heads} heads on matrix units`, latentDecodeMatrix, { ...shape, ...splittingFor(shape, division, 16, 128), division });
      }
    }
    assertEquals(await unitsProblems(kernels), []);
  });
}
