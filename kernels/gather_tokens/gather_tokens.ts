/**
 * Copies cached latents that a row attends to next to each other, for decode attention over some of a sequence's tokens.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { type CacheConfig, cacheTokenBytes } from "../latent_cache/layout.ts";
import { unroll } from "../authoring/unroll.ts";
import { contextOf } from "../latent_decode/splits.ts";
import source from "./gather_tokens.wgsl" with { type: "text" };

/** Geometry of the cache, and tokens of a row for which there is room. */
export interface GatherTokensConfig {
  readonly cache: CacheConfig;
  readonly slots: number;
  readonly stride: number;
}

const THREADS = 256;
/** Vectors of 16 bytes that a thread copies. */
const EACH = 4;

/** chosen: [rows, stride] slots, of which as many count as `step` says that the row attends to → out: [rows, stride] slots. */
export const gatherTokens: Kernel<GatherTokensConfig, "cache" | "chosen" | "step" | "out", "rows"> = {
  name: "gather_tokens",
  bindings: { cache: "read", chosen: "read", step: "read", out: "read_write" },
  params: ["rows"],
  wgsl({ cache, stride }) {
    const numbers = { SLOT_VECTORS: cacheTokenBytes(cache) / 16, STRIDE: stride, THREADS, EACH };
    return constants(numbers) + unroll(source, numbers);
  },
  workgroups: ({ cache, stride }, { rows }) => [ceilDiv(stride * cacheTokenBytes(cache) / 16, THREADS * EACH), rows, 1],
  sizes: ({ cache, slots, stride }, { rows }) => ({
    cache: slots * cacheTokenBytes(cache),
    chosen: rows * stride * 4,
    step: rows * 16,
    out: rows * stride * cacheTokenBytes(cache),
  }),
  reference({ cache: config, stride }, { cache, chosen, step, out }, { rows }) {
    const words = cacheTokenBytes(config) / 4;
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < contextOf(step.u32, row); i++) {
        const from = chosen.u32[row * stride + i] * words;
        out.u32.set(cache.u32.subarray(from, from + words), (row * stride + i) * words);
      }
    }
  },
};
