/**
 * Sparse attention of chunks that are longer than what is scored at a time, and of steps of several rows: the same bits, however rows are cut.
 */
import { it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { SPARSE_FIXTURES } from "../../support/checkpoints.ts";
import { loadModel } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";

const TOKENS = Array.from({ length: 200 }, (_, i) => 3 + (i * i * 7 + i) % 250);

describeModelsOnDevices("sparse attention", (kind) => {
  // A software driver takes long for each.
  const all = [["f32", "f32"], ["f16", "f16"], ["f32", "fp8"]] as const;
  const [names, dtypes] = kind === "deno" ? [SPARSE_FIXTURES.slice(0, 1), all.slice(1)] : [SPARSE_FIXTURES, all];
  for (const name of names) {
    for (const [cacheDtype, indexDtype] of dtypes) {
      it(`of ${name} gives the same bits in chunks of any length, and in steps of any rows, with ${cacheDtype} and index keys in ${indexDtype}`, async () => {
        const device = await openTestDevice(kind);
        try {
          const model = await loadModel(device, name, {
            cacheDtype,
            indexDtype,
            limits: { prefillRows: TOKENS.length, decodeRows: 7 },
            maxContext: 201,
          });
          const whole = (await runSequence(model, TOKENS, "prefill", TOKENS.length)).logits;
          for (const chunk of [131, 129, 13]) assertEquals((await runSequence(model, TOKENS, "prefill", chunk)).logits, whole, `chunks of ${chunk}`);
          const alone = (await runSequence(model, TOKENS.slice(0, 70), "decode", 1)).logits;
          for (const rows of [3, 7]) assertEquals((await runSequence(model, TOKENS.slice(0, 70), "decode", rows)).logits, alone, `${rows} rows`);
        } finally {
          await device.close();
        }
      });
    }
  }

  it("says that a device cannot bind what so many rows attend to", async () => {
    const device = await openTestDevice(kind, { maxBindingBytes: 2 ** 19 });
    const load = (decodeRows: number) =>
      loadModel(device, "deepseek-v32-tiny", { cacheDtype: "f32", limits: { decodeRows }, maxContext: 64, maxTokens: 64 });
    // Each row has a block of 64 tokens, of 40 floats.
    await assertRejects(() => load(60), LatentmeshError, "enough for 51 rows");
    await load(51);
    await device.close();
  });
});
