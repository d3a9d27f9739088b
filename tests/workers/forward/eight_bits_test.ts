/**
 * The forward pass with latents in eight bits: each is rounded once, when it is written, and everybody reads that.
 */
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import type { Device } from "../../../kernels/device/device.ts";
import { relativeError } from "../../support/compare.ts";
import { describeOnDevices, openTestDevice, unitsOf } from "../../support/devices.ts";
import { loadModel, readGolden } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";

const NAME = "deepseek-v2-lite-tiny";

describeOnDevices("latents in eight bits", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = unitsOf(await openTestDevice(kind))));
  afterAll(() => device.close());

  it("give the same bits for any chunks of a prompt and any rows of a step, near to those of f32", async () => {
    const { inputs: [all] } = await readGolden(NAME);
    const tokens = all.slice(0, 40);
    const options = { limits: { window: 32 } } as const;
    const model = await loadModel(device, NAME, { ...options, cacheDtype: "q8" });
    const whole = (await runSequence(model, tokens, "prefill", Infinity)).logits;
    for (const chunk of [1, 13]) assertEquals((await runSequence(model, tokens, "prefill", chunk)).logits, whole, `chunks of ${chunk}`);
    const [one, three] = [(await runSequence(model, tokens, "decode", 1)).logits, (await runSequence(model, tokens, "decode", 3)).logits];
    assertEquals(three, one, "steps of three tokens");
    const exact = (await runSequence(await loadModel(device, NAME, options), tokens, "prefill", Infinity)).logits;
    for (const [what, logits] of Object.entries({ whole, one })) {
      const error = relativeError(logits, exact);
      assert(error > 1e-5 && error < 5e-2, `${what}: ${error}`);
    }
    assert(relativeError(one, whole) < 1e-2, "attention over expanded latents and over latents");
  });
});
