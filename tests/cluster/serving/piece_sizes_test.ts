import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { PieceSizes } from "../../../cluster/serving/piece_sizes.ts";

/** A device on which a piece takes something, and so much for each token. */
interface SimulatedDevice {
  readonly step: number;
  readonly base: number;
  readonly perToken: number;
}

const devices = fc.record({
  step: fc.double({ min: 0.5, max: 500, noNaN: true }),
  base: fc.double({ min: 0, max: 100, noNaN: true }),
  perToken: fc.double({ min: 0.001, max: 20, noNaN: true }),
});

const took = ({ base, perToken }: SimulatedDevice, tokens: number) => base + perToken * tokens;

function run(sizes: PieceSizes, device: SimulatedDevice, pieces: number): void {
  for (let i = 0; i < pieces; i++) {
    sizes.computed(sizes.tokens, took(device, sizes.tokens));
    sizes.stepped(device.step);
  }
}

describe("sizes of pieces between steps", () => {
  it("come to where a piece and a step take as long as they may, whatever the device and the limit are", () =>
    fc.assert(fc.property(devices, fc.option(fc.double({ min: 1, max: 2000, noNaN: true }), { nil: undefined }), (device, maxStepMs) => {
      const sizes = new PieceSizes({ most: 4096, maxStepMs });
      run(sizes, device, 60);
      const limit = maxStepMs ?? 3 * device.step;
      const { tokens } = sizes;
      // The least piece may take longer: prompts get on whatever streams would like.
      assert(tokens === 16 || took(device, tokens) + device.step <= limit * 1.001, `${tokens} tokens take ${took(device, tokens)} ms`);
      // And no smaller than they need be.
      assert(tokens === 4096 || took(device, tokens + 32) + device.step > limit, `${tokens} tokens take only ${took(device, tokens)} ms`);
    })));

  it("follow when steps become longer and pieces dearer", () => {
    const sizes = new PieceSizes({ most: 4096, maxStepMs: undefined });
    run(sizes, { step: 10, base: 4, perToken: 0.05 }, 20);
    // (20 - 4) / 0.05, in sixteens from below.
    assertEquals(sizes.tokens, 304);
    run(sizes, { step: 20, base: 4, perToken: 0.05 }, 20);
    assert(sizes.tokens > 680 && sizes.tokens <= 720, `${sizes.tokens}`);
    run(sizes, { step: 20, base: 4, perToken: 0.2 }, 20);
    assert(sizes.tokens > 140 && sizes.tokens <= 180, `${sizes.tokens}`);
  });

  it("begin with what is known of pieces that nobody waited for, carefully where those were much larger", () => {
    const device = { step: 10, base: 4, perToken: 0.05 };
    const sizes = new PieceSizes({ most: 4096, maxStepMs: undefined });
    assertEquals(sizes.tokens, 64, "nothing is known");
    sizes.computed(4096, took(device, 4096));
    assertEquals(sizes.tokens, 64, "no step was measured yet");
    sizes.stepped(device.step);
    // In proportion 20 ms are 392 tokens, which would take 23.6.
    assertEquals(sizes.tokens, 192);
    sizes.computed(192, took(device, 192));
    assert(sizes.tokens > 250 && sizes.tokens <= 320, `${sizes.tokens}`);
    // A slow device, on which even the smallest guess would be too long: it is not waited for to find that out.
    const slow = new PieceSizes({ most: 64, maxStepMs: undefined });
    slow.computed(64, 1300);
    slow.stepped(185);
    assertEquals(slow.tokens, 16);
  });

  it("are not misled by the ends of prompts", () => {
    const device = { step: 10, base: 4, perToken: 0.05 };
    const sizes = new PieceSizes({ most: 512, maxStepMs: undefined });
    run(sizes, device, 20);
    const { tokens } = sizes;
    sizes.computed(1, 4);
    assertEquals(sizes.tokens, tokens);
    sizes.computed(512, took(device, 512));
    assert(sizes.tokens >= tokens, "a whole chunk, computed while nobody generated");
    sizes.computed(8, 100);
    assertEquals(sizes.tokens, 16, "a small one that took too long");
  });
});
