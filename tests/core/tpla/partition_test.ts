import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import type { Range } from "../../../core/model/matrix_source.ts";
import { basisFactors, defaultHalo, partition, promptShapes, type RankShape, UNCUT } from "../../../core/tpla/partition.ts";
import { cacheBytesPerToken, cachedWidth, collectivesPerStep, handoffBytesPerToken, perToken, wireBytesPerToken } from "../../../core/tpla/plan.ts";
import { groupsWithin } from "../../../core/tpla/scale_groups.ts";
import { type CacheDtype, SCALE_GROUP } from "../../../core/cache/cache_dtype.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { assertClose } from "../../support/compare.ts";
import { Random, SEED } from "../../../bench/support/random.ts";

const tiny = parseModelConfig(await Deno.readTextFile(`${fixtureDirectory("tiny-mla")}/config.json`), "config.json");
const columns = (ranges: readonly Range[]) => ranges.flatMap(({ begin, end }) => Array.from({ length: end - begin }, (_, i) => begin + i));
/** Every index of 0 … width exactly once. */
const tiles = (ranges: readonly Range[], width: number) => assertEquals(columns(ranges), Array.from({ length: width }, (_, i) => i));

describe("partition", () => {
  it("covers everything once, and gives every rank its values and the halo as keys", () => {
    const numbers = fc.record({
      groups: fc.constantFrom(1, 2, 3, 4, 8),
      blocks: fc.constantFrom(1, 2, 3, 5),
      halo: fc.integer({ min: 0, max: 128 }),
    });
    fc.assert(
      fc.property(numbers, ({ groups, blocks, halo }) => {
        const shapes = partition(tiny, { ranks: groups * blocks, latentGroups: groups, halo });
        for (const field of ["dense", "expert", "shared"] as const) {
          tiles(shapes.map((shape) => shape[field]), { dense: 896, expert: 160, shared: 160 }[field]);
        }
        tiles(shapes.map(({ vocabulary }) => vocabulary), 8192);
        for (let group = 0; group < groups; group++) {
          const members = shapes.filter(({ latentGroup }) => latentGroup === group);
          tiles(members.map(({ heads }) => heads), 8);
          members.forEach((shape) => assertEquals(shape.latents, members[0].latents));
        }
        tiles(shapes.filter((_, rank) => rank % blocks === 0).map(({ latents: [{ valueColumns }] }) => valueColumns), 128);
        for (const shape of shapes) {
          const [{ keyColumns, valueColumns, valueOffset, keyWidth }] = shape.latents;
          const keys = columns(keyColumns);
          const values = columns([valueColumns]);
          assertEquals(keys, [...new Set([...Array.from({ length: halo }, (_, i) => i), ...values])].sort((a, b) => a - b));
          assertEquals(keys.slice(valueOffset, valueOffset + values.length), values);
          assertEquals(keyWidth, keys.length);
        }
        // Whoever computes prompts for them rounds latents as they do: what a rank keeps are whole groups of a scale.
        const cut = { ranks: groups * blocks, latentGroups: groups, halo };
        for (const { latents: [whole] } of [...partition(tiny, UNCUT, cut), ...(blocks * groups <= 8 ? promptShapes(tiny, cut) : [])]) {
          assertEquals(whole.scaleGroups.reduce((sum, width) => sum + width, 0), 128);
          for (const { latents: [{ keyColumns, scaleGroups, keyWidth }] } of shapes) {
            assert(scaleGroups.every((width) => width > 0 && width <= SCALE_GROUP));
            assertEquals(scaleGroups.reduce((sum, width) => sum + width, 0), keyWidth);
            assertEquals(groupsWithin(whole.scaleGroups, keyColumns).map((group) => whole.scaleGroups[group]), scaleGroups);
          }
        }
      }),
      { seed: SEED },
    );
  });

  it("gives ranks that share latents by tokens all heads, the columns of their latent group, and every token once", () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 2, 4), fc.integer({ min: 2, max: 8 }), fc.integer({ min: 0, max: 128 }), (groups, shares, halo) => {
        const shapes = partition(tiny, { ranks: groups * shares, latentGroups: groups, halo, tokenShares: shares });
        const alone = partition(tiny, { ranks: groups, latentGroups: groups, halo });
        shapes.forEach((shape, rank) => {
          const group = Math.floor(rank / shares);
          const { latentGroup, heads, latents } = alone[group];
          assertEquals(shape.tokens, { index: rank % shares, of: shares });
          assertEquals([shape.latentGroup, shape.heads, shape.latents], [latentGroup, heads, latents]);
        });
        tiles(shapes.map(({ dense }) => dense), 896);
        tiles(shapes.map(({ vocabulary }) => vocabulary), 8192);
        assertEquals(handoffBytesPerToken(tiny, shapes, "f16"), handoffBytesPerToken(tiny, alone, "f16"), "a token goes to one rank of each group");
      }),
      { seed: SEED, numRuns: 40 },
    );
  });

  it("caches the widths of the published table for tiny-mla", () => {
    const widest = (latentGroups: number, halo: number) =>
      Math.max(...partition(tiny, { ranks: latentGroups, latentGroups, halo }).map((shape) => cachedWidth(tiny, shape)));
    assertEquals([2, 4, 8].map((g) => widest(g, 0)), [80, 48, 32]);
    assertEquals([2, 4, 8].map((g) => widest(g, 16)), [96, 64, 48]);
    assertEquals(defaultHalo(128), 16);
    assertEquals([defaultHalo(512), defaultHalo(20), defaultHalo(4)], [64, 8, 4]);
  });

  it("counts bytes", () => {
    const shapes = partition(tiny, { ranks: 2, latentGroups: 2, halo: 16 });
    assertEquals(shapes.map((shape) => cacheBytesPerToken(tiny, shape, "f16")), [80 * 6 * 2, 96 * 6 * 2]);
    assertEquals(handoffBytesPerToken(tiny, shapes, "f16"), (80 + 96) * 6 * 2);
    const cut = { ranks: 2, latentGroups: 2, halo: 16 };
    assertEquals(wireBytesPerToken(tiny, cut, "f32"), 12 * 320 * 4);
    assertEquals(wireBytesPerToken(tiny, { ...cut, feedForward: "replicated" }, "f32"), 6 * 320 * 4);
    assertEquals([cut, { ...cut, ranks: 1 }].map((cut) => collectivesPerStep(tiny, cut)), [12, 0]);
    // Half of all tokens on each, and beside every sum after attention a float for each of eight heads, whatever parts are sent as.
    const shared = { ranks: 2, latentGroups: 1, halo: 0, tokenShares: 2 };
    const [first, second] = partition(tiny, shared);
    assertEquals([first, second].map((shape) => perToken(shape, cacheBytesPerToken(tiny, shape, "f16"))), [72 * 6 * 2, 72 * 6 * 2]);
    assertEquals(handoffBytesPerToken(tiny, [first, second], "f16"), 144 * 6 * 2);
    assertEquals(collectivesPerStep(tiny, shared), 18);
    assertEquals(wireBytesPerToken(tiny, shared, "f16"), 12 * 320 * 2 + 6 * 8 * 4);
  });

  it("shares scales among 128 values at most, and not across a cut", () => {
    const wide = { ...tiny, latentWidth: 512 };
    const groups = (...options: Parameters<typeof partition> extends [unknown, ...infer R] ? R : never) =>
      partition(wide, ...options).map(({ latents: [{ scaleGroups }] }) => scaleGroups);
    const halved = { ranks: 2, latentGroups: 2, halo: 64 };
    assertEquals(groups(UNCUT), [[128, 128, 128, 128]]);
    assertEquals(groups({ ranks: 2, latentGroups: 1, halo: 64 }), [[128, 128, 128, 128], [128, 128, 128, 128]]);
    assertEquals(groups(halved), [[64, 128, 64], [64, 128, 128]]);
    assertEquals(groups(UNCUT, halved), [[64, 128, 64, 128, 128]]);
    assertEquals(partition({ ...tiny, latentWidth: 300 }, UNCUT)[0].latents[0].scaleGroups, [128, 128, 44]);
    const [whole] = partition({ ...wide, layers: 1 }, UNCUT);
    const bytes = (dtype: CacheDtype) => cacheBytesPerToken({ ...wide, rope: { ...wide.rope, width: 64 } }, whole, dtype);
    assertEquals([bytes("f32"), bytes("f16"), bytes("q8")], [2304, 1152, 512 + 4 * 4 + 128]);
  });

  it("refuses numbers that do not fit, by name", () => {
    const cases: [Parameters<typeof partition>[1], string, string][] = [
      [{ ranks: 4, latentGroups: 3, halo: 0 }, "does not divide", "decode.latentGroups"],
      [{ ranks: 2, latentGroups: 2, halo: 129 }, "0 … 128", "decode.halo"],
      [{ ranks: 16, latentGroups: 1, halo: 0 }, "only 8 heads", "decode.ranks"],
      [{ ranks: 256, latentGroups: 256, halo: 0 }, "only 128 directions", "decode.latentGroups"],
      [{ ranks: 6, latentGroups: 1, halo: 0, tokenShares: 3 }, "among 3 ranks each, which makes 3", "decode.ranks"],
    ];
    for (const [options, says, param] of cases) {
      const error = assertThrows(() => partition(tiny, options), LatentmeshError, says);
      assert(error.param === param, error.param);
    }
  });

  it("is the whole model for one rank", () => {
    const [only]: RankShape[] = partition(tiny, { ranks: 1, latentGroups: 1, halo: 16 });
    const [{ keyColumns, valueOffset }] = only.latents;
    assertEquals([keyColumns, valueOffset, only.heads], [[{ begin: 0, end: 128 }], 0, { begin: 0, end: 8 }]);
  });

  it("changes the basis of some columns", () => {
    const [rows, width, columns, scale] = [5, 12, [0, 3, 4, 11], 0.5];
    const random = new Random();
    const [W, gain] = [random.normals(rows * width), random.normals(width)];
    const inverse = Float64Array.from(random.normals(width * width));
    const factors = basisFactors(gain, inverse, columns, scale);
    for (let row = 0; row < rows; row++) {
      const weights = [...W.subarray(row * width, (row + 1) * width)];
      const expected = columns.map((column) => scale * weights.reduce((sum, weight, j) => sum + weight * gain[j] * inverse[j * width + column], 0));
      const changed = columns.map((_, c) => weights.reduce((sum, weight, j) => sum + weight * factors[c * width + j], 0));
      assertClose(changed, expected, 1e-6, "columns");
    }
  });
});
