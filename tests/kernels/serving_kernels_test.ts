/**
 * Kernels that only serving many needs: grammar masks, and copies of blocks.
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { blockCopy } from "../../kernels/block_copy/block_copy.ts";
import type { Device } from "../../kernels/device/device.ts";
import { cacheTokenBytes } from "../../kernels/latent_cache/layout.ts";
import { FORBIDDEN, maskLogits, maskWords } from "../../kernels/mask_logits/mask_logits.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
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
    for (const cache of [{ dtype: "f32", keyWidth: 5, ropeWidth: 3 }, { dtype: "f16", keyWidth: 6, ropeWidth: 2 }] as const) {
      for (const [source, copy, tokens] of [[0, 2, 1], [2, 0, 37], [1, 2, BLOCK_TOKENS], [0, 1, 0]]) {
        const words = BLOCK_TOKENS * cacheTokenBytes(cache) / 4;
        const before = Uint32Array.from({ length: 3 * words }, () => random.below(2 ** 32));
        const expected = before.slice();
        expected.set(before.subarray(source * words, source * words + tokens * cacheTokenBytes(cache) / 4), copy * words);
        const output = await runKernel(device, blockCopy, { cache, slots: 3 * BLOCK_TOKENS }, { cache: before }, { source, copy, tokens });
        assertEquals([...output.cache.u32], [...expected]);
      }
    }
  });
});
