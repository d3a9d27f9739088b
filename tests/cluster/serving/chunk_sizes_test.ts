import { describe, it } from "@std/testing/bdd";
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { ChunkCosts, type ChunkSize } from "../../../cluster/serving/chunk_costs.ts";
import { ChunkSizes, MOST_STEPS } from "../../../cluster/serving/chunk_sizes.ts";
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

/** Chunks after so many positions in turn. */
function runAt(sizes: ChunkSizes, device: SimulatedDevice, starts: readonly number[]): void {
  for (let i = 0; i < 120; i++) {
    const start = starts[i % starts.length];
    const chunk = { tokens: sizes.tokensAt(start), start };
    sizes.computed(chunk, took(device, chunk));
    sizes.stepped(device.step);
  }
}

describe("sizes of chunks between steps", () => {
  it("come to where a chunk and a step take as long as they may, or a chunk as long again as it takes without tokens", () =>
    fc.assert(fc.property(devices, fc.option(fc.double({ min: 1, max: 2000, noNaN: true }), { nil: undefined }), (device, maxStepMs) => {
      const sizes = new ChunkSizes({ most: 4096, layers: 1, maxStepMs });
      const starts = [0, 1000, 8000];
      runAt(sizes, device, starts);
      for (const start of starts) {
        const tokens = sizes.tokensAt(start);
        const fixed = before(device, start);
        const limit = (maxStepMs ?? MOST_STEPS * device.step) - device.step;
        const keepsLimit = maxStepMs !== undefined && fixed + device.perToken * 16 < limit;
        const most = keepsLimit ? limit : Math.max(limit, 2 * fixed);
        const says = `${tokens} tokens after ${start} take ${took(device, { tokens, start })} ms of ${most}`;
        // What is fitted is not quite what is: a hundredth is for that. The least chunk may take longer: prompts get on whatever streams would like.
        assert(tokens === 16 || took(device, { tokens, start }) <= most * 1.01 + 0.01, says);
        // And no smaller than they need be.
        assert(tokens === 4096 || took(device, { tokens: tokens + 32, start }) >= most * 0.99 - 0.01, says);
      }
    })));

  it("are tried out where the first chunk happens to take just what it may", () => {
    // 64 tokens take 100.08 ms of 101.37, nearly all of it whatever their number: 4096 take 104.9.
    const device = { step: 67.5804768657934, base: 99.99999999999976, perPosition: 0, perToken: 0.0011901669096711076 };
    const sizes = new ChunkSizes({ most: 4096, layers: 1, maxStepMs: undefined });
    runAt(sizes, device, [0, 1000, 8000]);
    assertEquals([0, 1000, 8000].map((start) => sizes.tokensAt(start)), [4096, 4096, 4096]);
  });

  it("keep a long prompt from taking many times as long, where a chunk's beginning takes longer than three steps", () => {
    // As measured of V2-Lite's sizes: 16 ms for reading weights, 2.2 ms for every 1024 positions before.
    const device = { step: 10.7, base: 16, perPosition: 0.00215, perToken: 0.024 };
    const sizes = new ChunkSizes({ most: 4096, layers: 1, maxStepMs: undefined });
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

  it("are some times as large where steps run between layers, whose turns take as long as they may", () =>
    fc.assert(fc.property(devices, fc.integer({ min: 1, max: 80 }), (device, layers) => {
      const sizes = new ChunkSizes({ most: 4096, layers, maxStepMs: undefined });
      const starts = [0, 4000, 8000];
      runAt(sizes, device, starts);
      const limit = (MOST_STEPS - 1) * device.step;
      for (const start of starts) {
        const tokens = sizes.tokensAt(start);
        const all = took(device, { tokens, start });
        const says = `${tokens} tokens after ${start}, ${layers} layers, ${all} ms for turns of ${limit}`;
        const whole = layers / Math.ceil(layers / 8);
        const most = Math.max(limit * whole * (whole === 1 ? 1 : 0.95), 2 * before(device, start));
        assert(tokens === 16 || all <= most * 1.01 + 0.01, says);
        assert(tokens === 4096 || took(device, { tokens: tokens + 32, start }) >= most * 0.99 - 0.01, says);
        let [turns, shortest, longest] = [0, Infinity, 0];
        for (let left = layers; left > 0; turns++) {
          const computed = { layers: layers - left, milliseconds: all * (1 - left / layers) };
          const next = sizes.layersOf({ tokens, start }, computed);
          assert(Number.isInteger(next) && next >= 1 && next <= left, `${next} of ${left}`);
          assert(next === 1 || all / layers * next <= limit * 1.02 + 0.01, `${next} layers of ${says}`);
          [shortest, longest] = [Math.min(shortest, next), Math.max(longest, next)];
          left -= next;
        }
        assert(longest - shortest <= 1 || turns <= 2, `turns of ${shortest} to ${longest} layers`);
        const fitting = Math.max(1, Math.floor(limit * 0.98 / (all / layers)));
        assert(turns <= Math.ceil(layers / fitting), `${turns} turns of ${says}`);
      }
    })));

  it("let a long prompt through within twice its time, and no stream wait for more than three steps", () => {
    // As measured of V2-Lite's sizes: 18 ms for reading weights, 0.5 ms for every 1024 positions before.
    const device = { step: 10.7, base: 18, perPosition: 0.0005, perToken: 0.023 };
    const sizes = new ChunkSizes({ most: 4096, layers: 27, maxStepMs: undefined });
    run(sizes, device, 40);
    let [milliseconds, longest, start] = [0, 0, 0];
    while (start < 16384) {
      const chunk = { tokens: Math.min(sizes.tokensAt(start), 16384 - start), start };
      for (let left = 27; left > 0;) {
        const layers = sizes.layersOf(chunk, { layers: 27 - left, milliseconds: took(device, chunk) * (1 - left / 27) });
        const turn = took(device, chunk) * layers / 27 + device.step;
        [milliseconds, longest, left] = [milliseconds + turn, Math.max(longest, turn), left - layers];
      }
      start += chunk.tokens;
    }
    assert(longest <= MOST_STEPS * device.step * 1.01, `${longest} ms`);
    const alone = [0, 4096, 8192, 12288].reduce((sum, start) => sum + took(device, { tokens: 4096, start }), 0);
    assert(milliseconds < 2 * alone, `${milliseconds} of ${alone} ms`);
  });

  it("are computed in shorter turns where the first layers took longer than was expected", () => {
    const sizes = new ChunkSizes({ most: 4096, layers: 24, maxStepMs: undefined });
    run(sizes, DEVICE, 40);
    const chunk = { tokens: sizes.tokensAt(0), start: 0 };
    const first = sizes.layersOf(chunk, { layers: 0, milliseconds: 0 });
    assertEquals(first, 3, "a turn of eight");
    assertEquals(sizes.layersOf(chunk, { layers: first, milliseconds: 60 }), 1, "layers that take as long as a turn");
    assertEquals(sizes.layersOf(chunk, { layers: first, milliseconds: 1 }), 3, "quick ones may have been an exception");
  });

  it("are all layers of a chunk that, as far as is known, takes no time", () => {
    const sizes = new ChunkSizes({ most: 512, layers: 27, maxStepMs: undefined });
    sizes.stepped(10);
    // Costs that bend upwards: what fits them best is a cost of positions alone.
    for (let i = 0; i < 24; i++) sizes.computed({ tokens: 512, start: 8192 + 512 * i }, 20 + 3 * i);
    assertEquals(sizes.layersOf({ tokens: sizes.tokensAt(0), start: 0 }, { layers: 0, milliseconds: 0 }), 27);
  });

  it("follow when steps become longer and chunks dearer", () => {
    const sizes = new ChunkSizes({ most: 4096, layers: 1, maxStepMs: undefined });
    run(sizes, DEVICE, 30);
    const near = (device: SimulatedDevice, within: number) => {
      const [tokens, fitting] = [sizes.tokensAt(0), ((MOST_STEPS - 1) * device.step - device.base) / device.perToken];
      assert(Math.abs(tokens - fitting) <= within * fitting, `${tokens} of ${fitting}`);
    };
    near(DEVICE, 0.05);
    run(sizes, { ...DEVICE, step: 20 }, 20);
    near({ ...DEVICE, step: 20 }, 0.05);
    run(sizes, { ...DEVICE, step: 20, perToken: 0.2 }, 40);
    near({ ...DEVICE, step: 20, perToken: 0.2 }, 0.25);
  });

  it("begin with what is known of chunks that nobody waited for, carefully where those were much larger", () => {
    const sizes = new ChunkSizes({ most: 4096, layers: 1, maxStepMs: undefined });
    assertEquals(sizes.tokensAt(0), 64, "nothing is known");
    const large = { tokens: 4096, start: 0 };
    sizes.computed(large, took(DEVICE, large));
    assertEquals(sizes.tokensAt(0), 64, "no step was measured yet");
    sizes.stepped(DEVICE.step);
    // In proportion 15 ms are 294 tokens, which would take 18.7.
    assertEquals(sizes.tokensAt(0), 147);
    const small = { tokens: 147, start: 0 };
    sizes.computed(small, took(DEVICE, small));
    assert(sizes.tokensAt(0) > 180 && sizes.tokensAt(0) <= 225, `${sizes.tokensAt(0)}`);
    // A slow device, on which even the smallest guess would be too long: it is not waited for to find that out.
    const slow = new ChunkSizes({ most: 64, layers: 1, maxStepMs: undefined });
    slow.computed({ tokens: 64, start: 0 }, 1300);
    slow.stepped(185);
    assertEquals(slow.tokensAt(0), 16);
  });

  it("are not misled by the ends of prompts, nor by one that waited for something else", () => {
    const sizes = new ChunkSizes({ most: 512, layers: 1, maxStepMs: undefined });
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

  it("of long chunks late in a prompt are known after many short ones", () => {
    // As measured of V2-Lite's sizes.
    const device = { step: 10.5, base: 12, perPosition: 0.0035, perToken: 0.024 };
    const costs = new ChunkCosts();
    const add = (chunk: ChunkSize) => costs.add(chunk, took(device, chunk));
    for (const start of [0, 4096, 8192, 12_288]) add({ tokens: 4096, start });
    for (let i = 0; i < 60; i++) add({ tokens: 1024, start: 0 });
    for (const chunk of [{ tokens: 4096, start: 0 }, { tokens: 4096, start: 12_288 }, { tokens: 512, start: 8192 }]) {
      assertAlmostEquals((costs.before(chunk.start) + costs.perToken * chunk.tokens) / took(device, chunk), 1, 0.02);
    }
  });

  it("are not led astray for ever by one that a clock saw take next to nothing", () => {
    const device = { step: 10.5, base: 12, perPosition: 0.0035, perToken: 0.024 };
    for (const odd of [1, 0.1, 0.01, 1e-160]) {
      const costs = new ChunkCosts();
      const add = (chunk: ChunkSize) => costs.add(chunk, took(device, chunk));
      const chunks = [{ tokens: 1024, start: 0 }, { tokens: 1024, start: 4096 }, { tokens: 256, start: 0 }, { tokens: 512, start: 12_288 }];
      for (let i = 0; i < 40; i++) add(chunks[i % 4]);
      for (let i = 0; i < 2; i++) costs.add({ tokens: 128, start: 2048 }, odd);
      for (let i = 0; i < 200; i++) add(chunks[i % 4]);
      for (const chunk of chunks) assertAlmostEquals((costs.before(chunk.start) + costs.perToken * chunk.tokens) / took(device, chunk), 1, 0.05);
    }
  });

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
