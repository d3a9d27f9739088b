/**
 * Kernels that only serving many needs: grammar masks, copies of blocks, and slices of whole latents.
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { blockCopy } from "../../kernels/block_copy/block_copy.ts";
import type { Device } from "../../kernels/device/device.ts";
import { cacheTokenBytes, cacheWidth, ropeOffset } from "../../kernels/latent_cache/layout.ts";
import { exportedConfig } from "../../kernels/latent_export/kept_columns.ts";
import { latentSlice } from "../../kernels/latent_slice/latent_slice.ts";
import { FORBIDDEN, maskLogits, maskWords } from "../../kernels/mask_logits/mask_logits.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { packCache, rounded, unpackCache } from "../support/latents.ts";
import { Random } from "../../bench/support/random.ts";

describeOnDevices("kernels for serving many", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  it("mask_logits forbids exactly the tokens whose bit is 0, of its own part of the vocabulary", async () => {
    const random = new Random();
    for (const [rows, vocabulary, firstToken, wholeVocabulary] of [[1, 1, 0, 1], [3, 61, 0, 61], [2, 69, 61, 130], [5, 512, 0, 512]]) {
      const masks = Uint32Array.from({ length: rows * maskWords(wholeVocabulary) }, () => random.below(2 ** 32));
      const logits = random.normals(rows * vocabulary);
      const expected = logits.map((logit, i) => {
        const [row, token] = [Math.floor(i / vocabulary), firstToken + i % vocabulary];
        const word = masks[row * maskWords(wholeVocabulary) + Math.floor(token / 32)];
        return Math.floor(word / 2 ** (token % 32)) % 2 === 1 ? logit : Math.fround(FORBIDDEN);
      });
      const output = await runKernel(device, maskLogits, { vocabulary, wholeVocabulary }, { masks, logits }, { rows, first_token: firstToken });
      assertEquals([...output.logits.f32], [...expected]);
    }
  });

  it("block_copy copies the beginning of a block and touches nothing else", async () => {
    const random = new Random();
    for (
      const cache of [{ dtype: "f32", keyWidth: 5, ropeWidth: 3 }, { dtype: "f16", keyWidth: 6, ropeWidth: 2 }, {
        dtype: "q8",
        keyWidth: 6,
        ropeWidth: 2,
      }] as const
    ) {
      for (const [source, copy, tokens] of [[0, 2, 1], [2, 0, 37], [1, 2, 64], [0, 1, 0], [2, 1, 128]]) {
        // Index keys of ranks that share latents by tokens lie in larger blocks.
        const blockTokens = Math.max(64, tokens);
        const words = blockTokens * cacheTokenBytes(cache) / 4;
        const before = Uint32Array.from({ length: 3 * words }, () => random.below(2 ** 32));
        const expected = before.slice();
        expected.set(before.subarray(source * words, source * words + tokens * cacheTokenBytes(cache) / 4), copy * words);
        const output = await runKernel(device, blockCopy, { cache, slots: 3 * blockTokens, blockTokens }, { cache: before }, {
          source,
          copy,
          tokens,
        });
        assertEquals([...output.cache.u32], [...expected]);
      }
    }
  });

  it("latent_slice copies a rank's columns from page to page, bit for bit, and touches nothing else", async () => {
    const random = new Random();
    const [blocks, keptBlocks, start] = [4, 5, 61];
    for (const [dtype, blockTokens] of [["f32", 64], ["f16", 128], ["q8", 64]] as const) {
      const cache = { dtype, keyWidth: 13, ropeWidth: 4, groups: [3, 2, 1, 1, 1, 3, 2] };
      const width = cacheWidth(cache);
      const values = random.normals(blocks * BLOCK_TOKENS * width);
      const stored = rounded(cache, values);
      const [tables, keptTables] = [Uint32Array.from([9, 9, 3, 0, 2]), Uint32Array.from([9, 4, 1, 3])];
      // Whole, a slice, a slice with a halo before it, one odd column: pairs of the source and of the result do not line up.
      for (const ranges of [[[0, 13]], [[7, 13]], [[0, 3], [8, 11]], [[5, 6]]]) {
        const columns = ranges.map(([begin, end]) => ({ begin, end }));
        const kept = exportedConfig({ cache, columns });
        const keptWidth = cacheWidth(kept);
        const before = random.normals(keptBlocks * blockTokens * keptWidth);
        const config = {
          cache,
          columns,
          slots: blocks * BLOCK_TOKENS,
          tableWords: 5,
          kept: { slots: keptBlocks * blockTokens, tableWords: 4, blockTokens },
        };
        for (const count of [0, 1, 61, 90]) {
          const inputs = { cache: packCache(cache, values), tables, kept_tables: keptTables, out: packCache(kept, before) };
          const { out } = await runKernel(device, latentSlice, config, inputs, { count, start, table: 2, kept_table: 1 });
          const expected = rounded(kept, before).slice();
          for (let position = start; position < start + count; position++) {
            const [block, offset] = [Math.floor(position / BLOCK_TOKENS), position % BLOCK_TOKENS];
            const from = (tables[2 + block] * BLOCK_TOKENS + offset) * width;
            const to = (keptTables[1 + Math.floor(position / blockTokens)] * blockTokens + position % blockTokens) * keptWidth;
            expected.fill(0, to, to + ropeOffset(kept));
            ranges.flatMap(([begin, end]) => Array.from({ length: end - begin }, (_, i) => begin + i)).forEach((column, i) =>
              expected[to + i] = stored[from + column]
            );
            expected.set(stored.subarray(from + ropeOffset(cache), from + width), to + ropeOffset(kept));
          }
          assertEquals(unpackCache(kept, new Uint8Array(out.f32.buffer)), expected);
        }
      }
    }
  });
});
