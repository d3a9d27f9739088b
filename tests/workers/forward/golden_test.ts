/**
 * The forward pass against Hugging Face transformers, on every device, cut in every way.
 */
import { describe, it } from "@std/testing/bdd";
import { assert } from "@std/assert";
import type { Device, DeviceKind } from "../../../kernels/device/device.ts";
import type { CacheDtype } from "../../../kernels/latent_cache/layout.ts";
import type { Model } from "../../../workers/forward/model.ts";
import { describeOnDevices, isSoftware, openTestDevice, unitsOf } from "../../support/devices.ts";
import { tested, WHOLE } from "../../support/extent.ts";
import { type Fixture, FIXTURES, SPARSE_FIXTURES } from "../../support/checkpoints.ts";
import { type Golden, loadModel, readCorrectionBiases, readGolden } from "../../support/fixtures.ts";
import { routeFlips, runSequence, type SequenceRun } from "../../support/forward.ts";

/** How a sequence is cut: tokens per step, and the phase they run in. */
const CUTS = {
  "in one piece": { chunk: Infinity, phase: "prefill" },
  "in chunks of 7": { chunk: 7, phase: "prefill" },
  "token by token": { chunk: 1, phase: "decode" },
} as const;

const TOLERANCE: Readonly<Record<DeviceKind, number>> = { cpu: 2e-5, wasm: 2e-5, deno: 5e-5, dawn: 5e-5 };
const F16_TOLERANCE = 5e-3;
const EMULATED: readonly Fixture[] = ["deepseek-v3-tiny", "deepseek-v3-fp8-tiny", "minicpm3-longrope-tiny", "mistral3-tiny", "axk1-tiny"];
/** What `cpu` computes where not everything is tested: a model with experts, one with rotations of its own, and one with sparse attention. */
const ALSO_ON_CPU: readonly Fixture[] = ["deepseek-v3-tiny", "minicpm3-longrope-tiny", "deepseek-v32-tiny"];
/** Largest router margin at which a route may legitimately flip when latents are rounded to f16. */
const FLIP_MARGIN = 1e-3;

const isSparse = (name: Fixture) => SPARSE_FIXTURES.some((sparse) => sparse === name);

async function withModel(
  kind: DeviceKind,
  name: Fixture,
  cacheDtype: CacheDtype,
  test: (model: Model, golden: Golden) => Promise<void>,
  open: (kind: DeviceKind) => Promise<Device> = openTestDevice,
): Promise<void> {
  const device = await open(kind);
  try {
    await test(await loadModel(device, name, { cacheDtype }), await readGolden(name));
  } finally {
    await device.close();
  }
}

/** ‖Δ‖/‖ref‖ over the positions that `counts` accepts. */
function logitsError(golden: Golden, runs: readonly SequenceRun[], counts: (sequence: number, position: number) => boolean): number {
  const vocabulary = golden.logits.length / golden.inputs.flat().length;
  let difference = 0, norm = 0, row = 0;
  golden.inputs.forEach((tokens, sequence) => {
    tokens.forEach((_, position) => {
      const expected = golden.logits.subarray(row * vocabulary, ++row * vocabulary);
      if (!counts(sequence, position)) return;
      const actual = runs[sequence].logits.subarray(position * vocabulary, (position + 1) * vocabulary);
      for (let i = 0; i < vocabulary; i++) {
        difference += (actual[i] - expected[i]) ** 2;
        norm += expected[i] ** 2;
      }
    });
  });
  return Math.sqrt(difference / norm);
}

describeOnDevices("logits against transformers", (kind) => {
  for (const name of kind === "cpu" ? tested("models", FIXTURES, (name) => ALSO_ON_CPU.includes(name)) : FIXTURES) {
    describe(name, () => {
      it(`with an f32 cache are within ${TOLERANCE[kind]}, however the sequence is cut`, () =>
        withModel(kind, name, "f32", async (model, golden) => {
          for (const [cut, { chunk, phase }] of Object.entries(CUTS)) {
            const runs: SequenceRun[] = [];
            for (const tokens of golden.inputs) runs.push(await runSequence(model, tokens, phase, chunk));
            const error = logitsError(golden, runs, () => true);
            assert(error <= TOLERANCE[kind], `${cut}: ${error}`);
            if (Deno.env.has("TEST_VERBOSE")) console.error(kind, name, cut, error);
          }
        }));

      // On a CPU, matrix units are emulated. Weights in f32 are not for them, and the largest model takes a minute.
      if (kind === "cpu" && !(WHOLE ? EMULATED : ["minicpm3-longrope-tiny"]).includes(name)) return;
      const cuts = kind === "cpu" ? { "eight tokens at a time, on emulated matrix units": { chunk: 8, phase: "decode" } } as const : CUTS;
      it(`with an f16 cache are within ${F16_TOLERANCE} where routes agree, and routes flip only on a small margin`, async () => {
        const slow = kind === "cpu" || isSoftware(kind);
        // What is chosen turns over, too, where index keys are rounded: up to here all tokens are.
        const short = slow || isSparse(name);
        const tokensOf = ({ inputs }: Golden) => inputs.map((tokens) => (short ? tokens.slice(0, 24) : tokens));
        const optionsOf = ({ inputs: [{ length: promptTokens }] }: Golden) => ({ routes: true, promptTokens });
        const exact: SequenceRun[] = [];
        await withModel(slow ? "wasm" : kind, name, "f32", async (model, golden) => {
          for (const tokens of tokensOf(golden)) exact.push(await runSequence(model, tokens, "prefill", Infinity, optionsOf(golden)));
        });
        const test = async (model: Model, golden: Golden) => {
          const inputs = tokensOf(golden);
          for (const [cut, { chunk, phase }] of Object.entries(cuts)) {
            const rounded: SequenceRun[] = [];
            for (const tokens of inputs) rounded.push(await runSequence(model, tokens, phase, chunk, optionsOf(golden)));
            const biases = await readCorrectionBiases(name, model.spec);
            const flips = inputs.map((tokens, s) => routeFlips(model.spec, tokens.length, exact[s], rounded[s], biases));
            const largest = Math.max(0, ...flips.flat().map(({ margin }) => margin));
            assert(largest < FLIP_MARGIN, `${cut}: a route flipped on a margin of ${largest}`);
            const flipped = (s: number, position: number) => flips[s].some((flip) => flip.position === position);
            const error = logitsError(golden, rounded, (s, position) => position < inputs[s].length && !flipped(s, position));
            assert(error <= F16_TOLERANCE, `${cut}: ${error}, ${flips.flat().length} routes flipped`);
            if (Deno.env.has("TEST_VERBOSE")) console.error(kind, name, cut, error, flips.flat());
          }
        };
        await withModel(kind, name, "f16", test, async (kind) => unitsOf(await openTestDevice(kind)));
      });
    });
  }
});
