/**
 * LongRoPE, whose factors depend on the length of a sequence: prompts as if in one piece, what is generated as it comes, whatever is computed beside it.
 *
 * `border.safetensors` has logits of a prompt of 20 tokens and 24 that follow it one by one, past the original context of 32. It was computed in float64, after the
 * source of transformers, by a program that gives the logits of all other goldens within 2e-6.
 */
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import type { Device } from "../../../kernels/device/device.ts";
import type { CachedSequence } from "../../../workers/forward/latent_cache.ts";
import type { Model } from "../../../workers/forward/model.ts";
import { relativeError } from "../../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../../support/devices.ts";
import { loadModel, readGolden } from "../../support/fixtures.ts";

const NAME = "minicpm3-longrope-tiny";
const PROMPT = 20;
const BORDER = 32;

describeOnDevices("sequences that grow over the border of LongRoPE", (kind) => {
  let device: Device;
  let model: Model;
  beforeAll(async () => {
    device = await openTestDevice(kind);
    model = await loadModel(device, NAME);
  });
  afterAll(() => device.close());

  /** Computes tokens of a sequence that are next. @returns logits of the last of them */
  async function compute(phase: "prefill" | "decode", parts: readonly (readonly [CachedSequence, readonly number[]])[]): Promise<Float32Array[]> {
    const { cache, head, spec } = model;
    const rows = parts.flatMap(([sequence, tokens]) => {
      cache.grow(sequence, tokens.length);
      return tokens.map((token, i) => ({ token, position: sequence.length + i, sequence }));
    });
    model.record({ phase, rows });
    head.recordLogits(phase, 0, rows.length);
    const logits = await head.logits(rows.length);
    parts.forEach(([sequence, tokens]) => sequence.length += tokens.length);
    return rows.map((_, row) => logits.slice(row * spec.vocabSize, (row + 1) * spec.vocabSize));
  }

  it("gives what transformers gives, and the same bits in chunks and beside sequences of other lengths", async () => {
    const { inputs: [tokens], logits: expected } = await readGolden(NAME, "border.safetensors");
    const whole: Float32Array[] = [];
    for (const chunk of [PROMPT, 7]) {
      const sequence = model.cache.open(PROMPT);
      // One whose prompt is longer than the border, decoded beside it.
      const beside = model.cache.open(BORDER + 8);
      const got: Float32Array[] = [];
      for (let start = 0; start < PROMPT; start += chunk) {
        got.push(...await compute("prefill", [[sequence, tokens.slice(start, Math.min(PROMPT, start + chunk))]]));
      }
      for (const part of [tokens.slice(0, PROMPT), tokens.slice(PROMPT, BORDER + 8)]) await compute("prefill", [[beside, part]]);
      for (const token of tokens.slice(PROMPT)) {
        const [own] = await compute("decode", chunk === PROMPT ? [[sequence, [token]]] : [[sequence, [token]], [beside, [token]]]);
        got.push(own);
      }
      const error = relativeError(got.flatMap((logits) => [...logits]), expected);
      assert(error <= 5e-5, `chunks of ${chunk}: ${error}`);
      if (whole.length === 0) whole.push(...got);
      else got.forEach((logits, position) => assertEquals(logits, whole[position], `position ${position}`));
      model.cache.close(sequence);
      model.cache.close(beside);
    }
  });

  it("computes what was generated before anew as it was, several tokens at a time", async () => {
    const { inputs: [tokens] } = await readGolden(NAME, "border.safetensors");
    const of = async (step: number) => {
      const sequence = model.cache.open(PROMPT);
      const got = await compute("prefill", [[sequence, tokens.slice(0, PROMPT)]]);
      for (let start = PROMPT; start < tokens.length; start += step) {
        got.push(...await compute("decode", [[sequence, tokens.slice(start, start + step)]]));
      }
      model.cache.close(sequence);
      return got;
    };
    assertEquals(await of(5), await of(1));
  });
});
