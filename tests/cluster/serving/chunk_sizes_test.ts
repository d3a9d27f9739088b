import { describe, it } from "@std/testing/bdd";
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { ChunkCosts, type ChunkSize } from "../../../cluster/serving/chunk_costs.ts";
import { ChunkSizes } from "../../../cluster/serving/chunk_sizes.ts";
import { Random } from "../../../bench/support/random.ts";

/** A device on which a chunk takes something, so much for each position before it, and so much for each token. */
interface SimulatedDevice {
  readonly step: number;
  readonly base: number;
  readonly perPosition: number;
  readonly perToken: number;
}

const devices = fc.record({
  step: fc.double({ min: 0.5, max: 500, noNaN: true }),
  base: fc.double({ min: 0, max: 100, noNaN: true }),
  perPosition: fc.double({ min: 0, max: 0.01, noNaN: true }),
  perToken: fc.double({ min: 0.001, max: 20, noNaN: true }),
});

const DEVICE: SimulatedDevice = { step: 10, base: 4, perPosition: 0, perToken: 0.05 };
const before = ({ base, perPosition }: SimulatedDevice, start: number) => base + perPosition * start;
const took = (device: SimulatedDevice, { tokens, start }: ChunkSize) => before(device, start) + device.perToken * tokens;

/** Prompts of 8192 tokens, in chunks between steps. */
function run(sizes: ChunkSizes, device: SimulatedDevice, chunks: number, of = 8192): void {
  for (let i = 0, start = 0; i < chunks; i++) {
    const chunk = { tokens: Math.min(sizes.tokensAt(start), of - start), start };
    sizes.computed(chunk, took(device, chunk));
    sizes.stepped(device.step);
    start = (start + chunk.tokens) % of;
  }
}

describe("sizes of chunks between steps", () => {
  it("come to where a chunk and a step take as long as they may, or a chunk as long again as it takes without tokens", () =>
    fc.assert(fc.property(devices, fc.option(fc.double({ min: 1, max: 2000, noNaN: true }), { nil: undefined }), (device, maxStepMs) => {
      const sizes = new ChunkSizes({ most: 4096, maxStepMs });
      const starts = [0, 1000, 8000];
      for (let i = 0; i < 120; i++) {
        const chunk = { tokens: sizes.tokensAt(starts[i % 3]), start: starts[i % 3] };
        sizes.computed(chunk, took(device, chunk));
        sizes.stepped(device.step);
      }
      for (const start of starts) {
        const tokens = sizes.tokensAt(start);
        const fixed = before(device, start);
        const limit = (maxStepMs ?? 3 * device.step) - device.step;
        const keepsLimit = maxStepMs !== undefined && fixed + device.perToken * 16 < limit;
        const most = keepsLimit ? limit : Math.max(limit, 2 * fixed);
        const says = `${tokens} tokens after ${start} take ${took(device, { tokens, start })} ms of ${most}`;
        // What is fitted is not quite what is: a hundredth is for that. The least chunk may take longer: prompts get on whatever streams would like.
        assert(tokens === 16 || took(device, { tokens, start }) <= most * 1.01 + 0.01, says);
        // And no smaller than they need be.
        assert(tokens === 4096 || took(device, { tokens: tokens + 32, start }) >= most * 0.99 - 0.01, says);
      }
    })));

  it("keep a long prompt from taking many times as long, where a chunk's beginning takes longer than three steps", () => {
    // As measured of V2-Lite's sizes: 16 ms for reading weights, 2.2 ms for every 1024 positions before.
    const device = { step: 10.7, base: 16, perPosition: 0.00215, perToken: 0.024 };
    const sizes = new ChunkSizes({ most: 4096, maxStepMs: undefined });
    run(sizes, device, 40);
    let [milliseconds, start] = [0, 0];
    for (; start < 16384;) {
      const chunk = { tokens: Math.min(sizes.tokensAt(start), 16384 - start), start };
      milliseconds += took(device, chunk) + device.step;
      start += chunk.tokens;
    }
    // In whole chunks, while nobody generates, 0.53 s; in chunks of sixteen tokens 47 s.
    assert(milliseconds < 1400, `${milliseconds} ms`);
  });

  it("follow when steps become longer and chunks dearer", () => {
    const sizes = new ChunkSizes({ most: 4096, maxStepMs: undefined });
    run(sizes, DEVICE, 30);
    // (20 - 4) / 0.05
    assert(sizes.tokensAt(0) >= 304 && sizes.tokensAt(0) <= 320, `${sizes.tokensAt(0)}`);
    run(sizes, { ...DEVICE, step: 20 }, 20);
    assert(sizes.tokensAt(0) > 680 && sizes.tokensAt(0) <= 720, `${sizes.tokensAt(0)}`);
    run(sizes, { ...DEVICE, step: 20, perToken: 0.2 }, 40);
    assert(sizes.tokensAt(0) > 140 && sizes.tokensAt(0) <= 200, `${sizes.tokensAt(0)}`);
  });

  it("begin with what is known of chunks that nobody waited for, carefully where those were much larger", () => {
    const sizes = new ChunkSizes({ most: 4096, maxStepMs: undefined });
    assertEquals(sizes.tokensAt(0), 64, "nothing is known");
    const large = { tokens: 4096, start: 0 };
    sizes.computed(large, took(DEVICE, large));
    assertEquals(sizes.tokensAt(0), 64, "no step was measured yet");
    sizes.stepped(DEVICE.step);
    // In proportion 20 ms are 392 tokens, which would take 23.6.
    assertEquals(sizes.tokensAt(0), 196);
    const small = { tokens: 196, start: 0 };
    sizes.computed(small, took(DEVICE, small));
    assert(sizes.tokensAt(0) > 250 && sizes.tokensAt(0) <= 320, `${sizes.tokensAt(0)}`);
    // A slow device, on which even the smallest guess would be too long: it is not waited for to find that out.
    const slow = new ChunkSizes({ most: 64, maxStepMs: undefined });
    slow.computed({ tokens: 64, start: 0 }, 1300);
    slow.stepped(185);
    assertEquals(slow.tokensAt(0), 16);
  });

  it("are not misled by the ends of prompts, nor by one that waited for something else", () => {
    const sizes = new ChunkSizes({ most: 512, maxStepMs: undefined });
    run(sizes, DEVICE, 20);
    const tokens = sizes.tokensAt(0);
    const end = { tokens: 1, start: 8000 };
    sizes.computed(end, took(DEVICE, end));
    assert(Math.abs(sizes.tokensAt(0) - tokens) <= 16, `${sizes.tokensAt(0)} of ${tokens}`);
    sizes.computed({ tokens: 300, start: 0 }, 5000);
    assert(sizes.tokensAt(0) > tokens / 2, `${sizes.tokensAt(0)} of ${tokens}`);
    run(sizes, DEVICE, 10);
    assert(Math.abs(sizes.tokensAt(0) - tokens) <= 48, `${sizes.tokensAt(0)} of ${tokens}`);
  });
});

describe("costs of chunks", () => {
  it("are found from chunks of several sizes and places, and are never negative", () =>
    fc.assert(fc.property(devices, fc.integer({ min: 0, max: 2 ** 31 - 1 }), fc.double({ min: 0, max: 0.3, noNaN: true }), (device, seed, noise) => {
      const random = new Random(seed);
      const [exact, noisy] = [new ChunkCosts(), new ChunkCosts()];
      const chunks = Array.from({ length: 40 }, () => ({ tokens: 1 + random.below(1024), start: random.below(16384) }));
      for (const chunk of chunks) {
        exact.add(chunk, took(device, chunk));
        noisy.add(chunk, took(device, chunk) * (1 + noise * (2 * random.next() - 1)));
      }
      for (const costs of [exact, noisy]) assert(costs.before(0) >= 0 && costs.before(1000) >= costs.before(0) && costs.perToken >= 0);
      for (const chunk of chunks) {
        const expected = exact.before(chunk.start) + exact.perToken * chunk.tokens;
        assertAlmostEquals(expected / took(device, chunk), 1, 0.01);
      }
    })));

  it("are put down to tokens where chunks do not tell them apart", () => {
    const costs = new ChunkCosts();
    assertEquals([costs.known, costs.largest, costs.before(100), costs.perToken], [false, 0, 0, 0]);
    costs.add({ tokens: 10, start: 0 }, 0);
    assert(!costs.known, "a clock that did not move says nothing");
    for (let i = 0; i < 3; i++) costs.add({ tokens: 50, start: 100 }, 25);
    assertEquals(costs.largest, 50);
    assertAlmostEquals(costs.perToken, 0.5, 1e-3);
    assertAlmostEquals(costs.before(100), 0, 0.1);
  });
});
