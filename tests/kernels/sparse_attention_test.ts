/**
 * What sparse attention adds: index keys, scores by them, the tokens that are chosen, and attention to those alone.
 */
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import type { IndexDtype } from "../../core/cache/cache_dtype.ts";
import { keepsToken, keptTokens } from "../../core/cache/token_share.ts";
import { chooseKept } from "../../kernels/choose_tokens/choose_kept.ts";
import { chooseTokens, choosingOn, chosenBits } from "../../kernels/choose_tokens/choose_tokens.ts";
import type { Device } from "../../kernels/device/device.ts";
import { gatherTokens } from "../../kernels/gather_tokens/gather_tokens.ts";
import { indexKeyConfig, indexKeys } from "../../kernels/index_keys/index_keys.ts";
import { indexScores } from "../../kernels/index_scores/index_scores.ts";
import { indexScoresMatrix, indexScoresRows, sharesKeys } from "../../kernels/index_scores/matrix_units.ts";
import { cacheTokenBytes, cacheWidth } from "../../kernels/latent_cache/layout.ts";
import { SHORT_SEQUENCE } from "../../kernels/rope_store/rope_store.ts";
import { UNITS_WORKGROUP_BYTES } from "../../workers/load/plan_memory.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { fewOf, reportLeftOut, tested } from "../support/extent.ts";
import { runKernel } from "../support/kernel.ts";
import { packCache, rounded, unpackCache } from "../support/latents.ts";
import { Random } from "../../bench/support/random.ts";

/** Slots of a position under block tables. */
function slotIn(tables: ArrayLike<number>, position: number, blockTokens = BLOCK_TOKENS): number {
  return tables[Math.floor(position / blockTokens)] * blockTokens + position % blockTokens;
}

/** Positions of the best scores, ascending; of equals the first. What is no number comes first. */
function best(scores: ArrayLike<number>, count: number): number[] {
  const rank = (position: number) => Number.isNaN(scores[position]) ? Infinity : Math.min(Number.MAX_VALUE, scores[position]);
  const order = Array.from(scores, (_, position) => position).sort((a, b) => rank(a) === rank(b) ? a - b : rank(b) > rank(a) ? 1 : -1);
  return order.slice(0, count).sort((a, b) => a - b);
}

/** Index keys that rows share on matrix units. */
const SHARING = [["f16", 64, 128], ["fp8", 64, 128], ["f16", 32, 64], ["f16", 16, 128]] as const;

describeOnDevices("sparse attention", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  it("normalises, rotates and stores index keys, and rotates index queries, in place and nothing else", async () => {
    const random = new Random();
    const [positions, shortPositions, slots] = [140, 140, 256];
    for (const dtype of ["f32", "f16", "fp8"] as const) {
      for (const [width, heads, ropeWidth, interleaved, rows] of [[128, 3, 64, false, 4], [14, 5, 6, true, 3], [16, 4, 16, false, 1]] as const) {
        // Blocks of ranks that share latents by tokens are of more than 64.
        const blockTokens = width === 14 ? 128 : 64;
        const tables = Uint32Array.from([9, 9, ...(width === 14 ? [1, 0] : [2, 0, 3])]);
        const cache = indexKeyConfig(width, dtype);
        const table = random.normals((positions + shortPositions) * ropeWidth);
        const at = Array.from({ length: rows }, (_, row) => [row * 45, slotIn(tables.subarray(2), row * 45, blockTokens), row === 1]);
        const step = Uint32Array.from(at.flatMap(([position, _, short]) => [0, Number(position), 7 + (short ? SHORT_SEQUENCE : 0), 2]));
        const [x, gain, bias] = [random.normals(rows * width, 3), random.normals(width), random.normals(width)];
        const q = random.normals(rows * heads * width);
        const before = random.normals(slots * cacheWidth(cache));
        const rotate = (values: number[], row: number) => {
          const turns = Number(at[row][0]) + (at[row][2] ? positions : 0);
          const pairs = ropeWidth / 2;
          for (let pair = 0; pair < pairs; pair++) {
            const [a, b] = interleaved ? [2 * pair, 2 * pair + 1] : [pair, pair + pairs];
            const [cos, sin] = table.subarray((turns * pairs + pair) * 2);
            [values[a], values[b]] = [values[a] * cos - values[b] * sin, values[a] * sin + values[b] * cos];
          }
          return values;
        };
        const expected = Float64Array.from(rounded(cache, before));
        for (let row = 0; row < rows; row++) {
          const values = [...x.subarray(row * width, (row + 1) * width)];
          const mean = values.reduce((sum, value) => sum + value) / width;
          const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width + 0.01);
          const key = rotate(values.map((value, k) => (value - mean) / deviation * gain[k] + bias[k]), row);
          const filled = Float32Array.from([...key, ...new Array(cacheWidth(cache) - width).fill(0)]);
          expected.set(rounded(cache, filled), Number(at[row][1]) * cacheWidth(cache));
        }
        const output = await runKernel(
          device,
          indexKeys,
          { cache, slots, blockTokens, tableWords: tables.length, heads, ropeWidth, interleaved, eps: 0.01, positions, shortPositions },
          { x, gain, bias, step, table, q, cache: packCache(cache, before), tables },
          { rows },
        );
        assertClose(
          unpackCache(cache, new Uint8Array(output.cache.u32.buffer)),
          expected,
          { f32: 1e-6, f16: 1e-3, fp8: 1e-2 }[dtype],
          `keys, ${width}`,
        );
        const turned = Array.from(
          { length: rows * heads },
          (_, item) => rotate([...q.subarray(item * width, (item + 1) * width)], Math.floor(item / heads)),
        );
        assertClose(output.q.f32, turned.flat(), 1e-6, `queries, ${width}`);
      }
    }
  });

  it("scores every token of each row's own sequence, with the same bits whatever rows are beside it", async () => {
    for (const dtype of ["f32", "f16", "fp8"] as const) {
      for (const [heads, width] of [[64, 128], [5, 14], [1, 16]]) await scoreRows(device, indexScores, { heads, width, dtype }, 1e-5);
      await scoreRows(device, indexScores, { heads: 3, width: 20, dtype, blockTokens: 192 }, 1e-5);
    }
  });

  const onUnits = kind === "cpu"
    ? tested("heads of indexers", [[16, 32], [32, 128], [64, 128], [128, 64], [128, 128]], ([heads, width]) => heads === 32 || heads * width > 8192)
    : [[64, 128], [128, 64], [128, 128]];
  itOnUnits(kind)("scores so on matrix units", async () => {
    for (const [heads, width] of onUnits) await scoreRows(unitsOf(device), indexScoresMatrix, { heads, width, dtype: "f16" }, 2e-3);
    await scoreRows(unitsOf(device), indexScoresMatrix, { heads: 32, width: 128, dtype: "f16", blockTokens: 128 }, 2e-3);
    for (const [heads, width] of onUnits) await scoreRows(unitsOf(device), indexScoresMatrix, { heads, width, dtype: "fp8" }, 2e-3);
  });

  reportLeftOut("half of the index keys that rows share");
  itOnUnits(kind)("scores rows of one sequence that share keys, with the bits that each has alone", async () => {
    const random = new Random();
    for (const [dtype, heads, width] of fewOf(SHARING)) {
      const cache = indexKeyConfig(width, dtype);
      const tables = Uint32Array.from([9, 2, 0, 3, 1]);
      const [slots, positions, first] = [256, 200, 2];
      const values = random.normals(slots * cacheWidth(cache));
      for (let i = 0; i < values.length; i++) if (i % cacheWidth(cache) >= width) values[i] = 0;
      const packed = packCache(cache, values);
      // Rows 2 to 8 of a step; the last four are three.
      const step = Uint32Array.from({ length: 9 * 4 }, (_, i) => [7, 140 + (i >> 2), 7, 1][i % 4]);
      const [q, weights] = [random.normals(9 * heads * width), random.normals(9 * heads)];
      const config = { cache, slots, blockTokens: BLOCK_TOKENS, tableWords: tables.length, heads, positions };
      assert(sharesKeys(config, UNITS_WORKGROUP_BYTES));
      const run = async (kernel: typeof indexScores, first_row: number, rows: number, tokens: number) => {
        const inputs = { q, weights, cache: packed, tables, step, scores: { poison: rows * positions } };
        return [...(await runKernel(unitsOf(device), kernel, config, inputs, { rows, first_row, tokens })).scores.u32];
      };
      const expected = await run(indexScoresMatrix, first, 7, 256);
      for (const tokens of [256, 4096]) {
        assertEquals(await run(indexScoresRows, first, 7, tokens), expected, `${heads} heads of ${width} in ${dtype}`);
      }
      assertEquals(await run(indexScoresRows, first + 1, 2, 256), expected.slice(positions, 3 * positions));
      assertEquals(await run(indexScoresRows, first, 2, 0), new Array(2 * positions).fill(0x7fc0dead));
    }
  });

  it("chooses exactly the best, of equals the first, and all where there are no more", async () => {
    const random = new Random();
    const kinds: [name: string, score: (position: number) => number][] = [
      ["random", () => random.normals(1)[0]],
      ["many equal, zeros of both signs among them", () => [0, -0, 1, -1, 0.5][random.below(5)]],
      ["all equal", () => -3],
      ["of every size", () => random.normals(1)[0] * 10 ** (random.below(60) - 30)],
      ["ascending", (position) => position],
      ["the smallest there are", () => (random.below(9) - 4) * 2 ** -149],
      ["infinite, and no numbers", () => [0, 1, Infinity, -Infinity, NaN][random.below(5)]],
    ];
    for (const [name, score] of kinds) {
      // The smallest workgroup has several windows of positions.
      const cases = [
        [1, { threads: 64, copies: 1 }, [[1, 2]]],
        [61, { threads: 256, copies: 4 }, [[0, 3], [2, 3]]],
        [64, choosingOn(device.limits), [[1, 3]]],
      ] as const;
      for (const [topTokens, workgroup, shares] of cases) {
        const lengths = [1, topTokens, topTokens + 1, 69, 128, 300, 2049, 4300];
        const [positions, rows] = [4301, lengths.length];
        const scores = Float32Array.from(
          { length: rows * positions },
          (_, at) => at % positions < lengths[Math.floor(at / positions)] ? score(at % positions) : NaN,
        );
        const tables = Uint32Array.from({ length: 69 }, (_, block) => (block * 7 + 9) % 71);
        const step = Uint32Array.from([0, 0, 0, 0, ...lengths.flatMap((length) => [0, length - 1, 0, 1])]);
        const expected = lengths.map((length, row) => best(scores.subarray(row * positions, row * positions + length), topTokens));
        const run = async (gives: "slots" | "bits", stride: number, contexts?: readonly [number, number]) => {
          const config = { positions, tableWords: tables.length, topTokens, stride, gives, workgroup, contexts };
          const inputs = { scores, tables, step, chosen: { poison: (rows + 1) * stride } };
          return (await runKernel(device, chooseTokens, config, inputs, { rows, first_row: 1 })).chosen.u32;
        };
        const slots = await run("slots", 64);
        const bits = await run("bits", chosenBits(positions));
        // Of these lengths only, others being left alone.
        const some = await run("slots", 64, [69, 2049]);
        lengths.forEach((length, row) => {
          const own = length >= 69 && length < 2049 ? slots.subarray((row + 1) * 64, (row + 2) * 64) : new Array(64).fill(0x7fc0dead);
          assertEquals([...some.subarray((row + 1) * 64, (row + 2) * 64)], [...own], `${name}, ${topTokens} of ${length}, or left alone`);
        });
        lengths.forEach((length, row) => {
          const at = expected[row].map((position) => slotIn(tables.subarray(1), position));
          const filled = [...at, ...new Array(64 - at.length).fill(0x7fc0dead)];
          assertEquals([...slots.subarray((row + 1) * 64, (row + 2) * 64)], filled, `${name}, ${topTokens} of ${length}`);
          const own = bits.subarray((row + 1) * chosenBits(positions), (row + 2) * chosenBits(positions));
          const set = Array.from({ length: chosenBits(length) * 32 }, (_, position) => position).filter((at) => own[at >>> 5] >>> (at & 31) & 1);
          assertEquals(set, expected[row], `${name}, bits of ${topTokens} of ${length}`);
        });
        // Ranks that share latents by tokens: each is given what it keeps of the same, which may be nothing.
        for (const [index, of] of shares) {
          const tokens = { index, of };
          const config = { positions, tableWords: tables.length, topTokens, stride: 64, tokens, workgroup };
          const words = Uint32Array.from({ length: (rows + 1) * 4 }, (_, i) => i + 100);
          const inputs = { scores, tables, step, chosen: { poison: (rows + 1) * 64 }, attended: words };
          const { chosen, attended } = await runKernel(device, chooseKept, config, inputs, { rows, first_row: 1 });
          const counts = words.slice();
          lengths.forEach((length, row) => {
            const kept = expected[row].filter((position) => keepsToken(tokens, position));
            counts[(row + 1) * 4 + 1] = kept.length - 1;
            const at = kept.map((position) => slotIn(tables.subarray(1), keptTokens(tokens, position)));
            const filled = [...at, ...new Array(64 - at.length).fill(0x7fc0dead)];
            assertEquals([...chosen.u32.subarray((row + 1) * 64, (row + 2) * 64)], filled, `${name}, ${topTokens} of ${length}, ${index} of ${of}`);
          });
          assertEquals([...attended.u32], [...counts], `${name}, counts of ${index} of ${of}`);
        }
      }
    }
  });

  it("copies chosen latents next to each other", async () => {
    const random = new Random();
    for (
      const cache of [{ dtype: "f32", keyWidth: 5, ropeWidth: 3 }, { dtype: "f16", keyWidth: 512, ropeWidth: 64 }, {
        dtype: "q8",
        keyWidth: 6,
        ropeWidth: 2,
      }] as const
    ) {
      const [slots, stride, words] = [192, 64, cacheTokenBytes(cache) / 4];
      const before = Uint32Array.from({ length: slots * words }, () => random.below(2 ** 32));
      const counts = [1, 61, 0, 64];
      const chosen = Uint32Array.from({ length: counts.length * stride }, () => random.below(slots));
      const step = Uint32Array.from(counts.flatMap((count) => [0, count - 1, 0, 0]));
      const inputs = { cache: before, chosen, step, out: { poison: counts.length * stride * words } };
      const { out } = await runKernel(device, gatherTokens, { cache, slots, stride }, inputs, { rows: counts.length });
      const expected = counts.flatMap((count, row) =>
        Array.from({ length: stride }, (_, i) => {
          const from = chosen[row * stride + i] * words;
          return i < count ? [...before.subarray(from, from + words)] : new Array(words).fill(0x7fc0dead);
        }).flat()
      );
      assertEquals([...out.u32], expected);
    }
  });
});

/** Scores rows of two sequences, all together and some of them. */
async function scoreRows(
  device: Device,
  kernel: typeof indexScores,
  { heads, width, dtype, blockTokens = BLOCK_TOKENS }: {
    readonly heads: number;
    readonly width: number;
    readonly dtype: IndexDtype;
    readonly blockTokens?: number;
  },
  tolerance: number,
): Promise<void> {
  const random = new Random();
  const cache = indexKeyConfig(width, dtype);
  const tables = Uint32Array.from([2, 0, 3, 1, 9, 5, 11, 4, 6, 10, 7, 8]);
  const blocks = tables.length;
  const values = random.normals(blocks * blockTokens * cacheWidth(cache));
  for (let i = 0; i < values.length; i++) if (i % cacheWidth(cache) >= width) values[i] = 0;
  const [stored, packed] = [rounded(cache, values), packCache(cache, values)];
  const rowsOf = [[0, 0], [60, 2], [68, 0], [560, 3]];
  const step = Uint32Array.from(rowsOf.flatMap(([position, table]) => [7, position, 7, table]));
  const rows = rowsOf.length;
  const [q, weights] = [random.normals(rows * heads * width), random.normals(rows * heads)];
  const positions = 570;
  const config = { cache, slots: blocks * blockTokens, blockTokens, tableWords: blocks, heads, positions };
  const run = async (first_row: number, count: number, tokens: number) => {
    const inputs = { q, weights, cache: packed, tables, step, scores: { poison: count * positions } };
    return (await runKernel(device, kernel, config, inputs, { rows: count, first_row, tokens })).scores;
  };
  const all = await run(0, rows, 1024);
  rowsOf.forEach(([position, table], row) => {
    const expected = Array.from({ length: position + 1 }, (_, at) => {
      const key = stored.subarray(slotIn(tables.subarray(table), at, blockTokens) * cacheWidth(cache));
      let score = 0;
      for (let head = 0; head < heads; head++) {
        let product = 0;
        for (let k = 0; k < width; k++) product += q[(row * heads + head) * width + k] * key[k];
        score += weights[row * heads + head] * Math.max(product, 0);
      }
      return score;
    });
    const own = all.u32.subarray(row * positions, (row + 1) * positions);
    assertClose(all.f32.subarray(row * positions, row * positions + position + 1), expected, tolerance, `${heads} heads, row ${row}`);
    assertEquals([...own.subarray(position + 1)], new Array(positions - position - 1).fill(0x7fc0dead));
  });
  const last = await run(2, 2, 561);
  assertEquals([...last.u32], [...all.u32.subarray(2 * positions)]);
  assertEquals([...(await run(1, 1, 0)).u32], new Array(positions).fill(0x7fc0dead));
}
