/**
 * Checkpoints in four bits, in every form in which they are published, against the same weights unpacked: on one rank, and cut in both ways.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { isHost } from "../../../core/device_kind.ts";
import type { DeviceKind } from "../../../kernels/device/device.ts";
import { relativeError } from "../../support/compare.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { CUTS, generate, loadRanks, promptOf } from "../../support/cut_models.ts";
import { runSequence } from "../../support/forward.ts";
import { INT4_FORMS, type Int4Model, type Int4Pair, int4Pair } from "../../support/int4_checkpoints.ts";
import { Random } from "../../../bench/support/random.ts";

const TOLERANCE = 1e-5;
const TOKENS = 24;

/**
 * Which forms of which model, where; on GPUs, cut in one way. A software driver compiles for long, AWQ and GPTQ lie alike on devices, and tiny-mla takes the plain
 * reference seconds.
 */
const CASES: readonly [model: Int4Model, form: keyof typeof INT4_FORMS, on: readonly DeviceKind[], onGpus: keyof typeof CUTS][] = [
  ["tiny-mla", "compressed-tensors, experts in groups of 32, as Kimi-K2.5", ["cpu", "wasm", "deno", "dawn"], "tpla over two ranks"],
  ["tiny-mla", "compressed-tensors, groups of 32 with zero points", ["wasm"], "tpla over two ranks"],
  ["V2-Lite shaped", "compressed-tensors, groups of 128", ["cpu", "wasm"], "tpla over two ranks"],
  ["V2-Lite shaped", "AWQ, groups of 128", ["cpu", "wasm", "deno", "dawn"], "mla over two ranks"],
  ["V2-Lite shaped", "GPTQ, groups of 128", ["cpu", "wasm"], "mla over two ranks"],
  ["V2-Lite shaped", "GPTQ v2 with zero points", ["wasm"], "mla over two ranks"],
];

const pairs = new Map<string, Promise<Int4Pair>>();

/** Written once for all devices. */
function pairOf(model: Int4Model, form: keyof typeof INT4_FORMS): Promise<Int4Pair> {
  const name = `${model} ${form}`;
  if (!pairs.has(name)) pairs.set(name, int4Pair(model, INT4_FORMS[form]));
  return pairs.get(name)!;
}

describeModelsOnDevices("checkpoints in four bits", (kind) => {
  for (const [model, form, on, onGpus] of CASES) {
    if (!on.includes(kind)) continue;
    describe(`${model}: ${form}`, () => {
      it("give the logits of the same weights unpacked, on one rank, and stay packed", async () => {
        const { packed, unpacked } = await pairOf(model, form);
        const device = await openTestDevice(kind);
        try {
          const [actual, expected] = [await loadRanks(device, packed, null), await loadRanks(device, unpacked, null)];
          const { vocabSize } = actual.ranks[0].spec;
          const tokens = Array.from({ length: TOKENS }, ((random) => () => 3 + random.below(vocabSize - 3))(new Random()));
          for (const [phase, chunk] of [["prefill", 10], ["decode", 3]] as const) {
            const [a, b] = [await runSequence(actual.ranks[0], tokens, phase, chunk), await runSequence(expected.ranks[0], tokens, phase, chunk)];
            const error = relativeError(a.logits, b.logits);
            if (Deno.env.has("TEST_VERBOSE")) console.error(kind, model, form, phase, error);
            assert(error <= TOLERANCE, `${phase}: ${error}`);
          }
          assert(actual.bytes < 0.8 * expected.bytes, `${actual.bytes} of ${expected.bytes} bytes`);
        } finally {
          await device.close();
        }
      });

      for (const [name, cut] of Object.entries(CUTS)) {
        if (!isHost(kind) && name !== onGpus) continue;
        it(`give the same logits and greedy tokens, ${name}`, async () => {
          const { packed, unpacked } = await pairOf(model, form);
          const device = await openTestDevice(kind);
          try {
            const { ranks } = await loadRanks(device, packed, cut);
            const prompt = promptOf(ranks[0].spec);
            const actual = await generate(ranks, prompt);
            const expected = await generate((await loadRanks(device, unpacked, cut)).ranks, prompt);
            const error = relativeError(actual.logits, expected.logits);
            if (Deno.env.has("TEST_VERBOSE")) console.error(kind, model, form, name, error);
            assertEquals(actual.tokens, expected.tokens);
            assert(error <= TOLERANCE, `${error}`);
          } finally {
            await device.close();
          }
        });
      }
    });
  }
});
