import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { parseModelConfig } from "../../../core/model/config.ts";
import { bytesPerRow, bytesPerWindowPosition, choosePrefillSizes, type PrefillDevice } from "../../../core/model/prefill_sizes.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { SEED } from "../../../bench/support/random.ts";

/** Of DeepSeek-V2-Lite's sizes, and twice as wide. */
const specs = [1, 2].map((times) => {
  const config = JSON.parse(Deno.readTextFileSync(`${fixtureDirectory("deepseek-v2-lite-tiny")}/config.json`));
  return parseModelConfig(
    JSON.stringify({
      ...config,
      hidden_size: 2048 * times,
      num_attention_heads: 16 * times,
      num_key_value_heads: 16 * times,
      kv_lora_rank: 512,
      qk_nope_head_dim: 128,
      qk_rope_head_dim: 64,
      qk_head_dim: 192,
      v_head_dim: 128,
      intermediate_size: 10944 * times,
      moe_intermediate_size: 1408 * times,
      n_routed_experts: 64,
      num_experts_per_tok: 6,
      max_position_embeddings: 163840,
    }),
    "v2-lite",
  );
});

const card = (freeBytes: number | null, maxBindingBytes = 2 ** 31 - 4): PrefillDevice => ({ kind: "dawn", freeBytes, maxBindingBytes });

describe("what prefill computes at a time", () => {
  it("is what a sixteenth of a GPU's memory holds, or half a gigabyte where nobody knows it, and little on a CPU", () => {
    const [spec, wide] = specs;
    const sizes = (device: PrefillDevice, of = spec, given = {}) => {
      const { chunk, window } = choosePrefillSizes(of, device, given, 163840);
      return [chunk, window];
    };
    assertEquals(sizes(card(140e9)), [4096, 4096]);
    assertEquals(sizes(card(24e9)), [4096, 4096]);
    assertEquals(sizes(card(12e9), wide), [1024, 2048]);
    assertEquals(sizes(card(null)), [1024, 2048]);
    assertEquals(sizes(card(null, 2 ** 27)), [1024, 2048]);
    assertEquals(sizes(card(140e9, 2 ** 27)), [1024, 4096]);
    assertEquals(sizes(card(1e9)), [512, 512]);
    assertEquals(sizes({ kind: "cpu", freeBytes: null, maxBindingBytes: 2 ** 32 }), [64, 512]);
    assertEquals(sizes(card(140e9), spec, { chunk: 100 }), [100, 4096]);
    assertEquals(sizes(card(140e9), spec, { window: 1024 }), [4096, 1024]);
    assertEquals(choosePrefillSizes(spec, card(140e9), {}, 1000), { chunk: 1000, window: 1000, keptWindows: 0 });
  });

  it("keeps keys and values of the windows that a sixteenth of the memory holds, and none that no chunk would need again", () => {
    const [spec] = specs;
    const kept = (device: PrefillDevice, maxContext: number, given = {}) => choosePrefillSizes(spec, device, given, maxContext).keptWindows;
    const bytes = spec.layers * (spec.heads * (spec.nopeWidth + spec.valueWidth) + spec.rope.width) * 4 * 4096;
    assertEquals(kept(card(8e9), 163840, { window: 4096 }), Math.min(39, Math.floor(8e9 / 16 / bytes)));
    assertEquals(kept(card(140e9), 163840), 39, "what a context has");
    assertEquals([4096, 4097, 8192, 8193].map((context) => kept(card(140e9), context)), [0, 1, 1, 2]);
    assertEquals(kept(card(1e8), 163840, { window: 4096 }), 0);
    assertEquals(kept(card(null), 163840, { window: 512 }), Math.min(64, Math.floor(2 ** 29 / (bytes / 8))));
    assertEquals(kept(card(1e15), 163840, { window: 512 }), 64);
    const largest = 512 * spec.heads * Math.max(spec.nopeWidth, spec.valueWidth) * 4;
    assertEquals(kept(card(1e15, 5 * largest + 1), 163840, { window: 512 }), 5, "what a kernel can see of one buffer");
  });

  it("never takes more than its share, nor a larger buffer than a kernel can see, unless not even the least fits", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...specs),
        fc.double({ min: 1e9, max: 2e11, noNaN: true }),
        fc.integer({ min: 2 ** 27, max: 2 ** 31 }),
        (spec, free, most) => {
          const { chunk, window } = choosePrefillSizes(spec, card(free, most), {}, 163840);
          const [row, position] = [bytesPerRow(spec, 163840), bytesPerWindowPosition(spec)];
          if (chunk > 512 && window > 512) assert(chunk * row.all + window * position.all <= free / 16);
          if (chunk > 512) assert(chunk * row.largest <= most);
          if (window > 512) assert(window * position.largest <= most);
        },
      ),
      { seed: SEED },
    );
  });
});
