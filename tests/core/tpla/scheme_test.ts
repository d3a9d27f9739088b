import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { parseModelConfig } from "../../../core/model/config.ts";
import { partition } from "../../../core/tpla/partition.ts";
import { cacheBytesPerToken, cachedWidth, handoffBytesPerToken } from "../../../core/tpla/plan.ts";
import { resolveCut, type Scheme, SCHEME_DEFAULTS } from "../../../core/tpla/scheme.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { ROOT } from "../../../bench/support/root.ts";

const tiny = parseModelConfig(await Deno.readTextFile(`${ROOT}/models/tiny-mla/config.json`), "tiny-mla");
const CHOSEN = [
  { latentGroups: 2, widths: [64, 64, 80, 80, 80, 112] },
  { latentGroups: 4, widths: [32, 32, 48, 48, 48, 80] },
];

describe("resolveCut", () => {
  const widths = (scheme: Partial<Scheme>) => resolveCut(tiny, { ...SCHEME_DEFAULTS, ranks: 2, ...scheme }, CHOSEN).widths;

  it("takes what a calibration has chosen for as many latent groups, where nothing else is asked for", () => {
    assertEquals(widths({}), CHOSEN[0].widths);
    assertEquals(widths({ ranks: 4, latentGroups: 2 }), CHOSEN[0].widths);
    assertEquals(widths({ ranks: 4 }), CHOSEN[1].widths);
    assertEquals(widths({ attention: "dcp", ranks: 8, latentGroups: 2 }), CHOSEN[0].widths);
    const others: Partial<Scheme>[] = [
      { ranks: 8 },
      { halo: 16 },
      { halo: 0 },
      { paper: true },
      { basis: "pca" },
      { lambda: 0.1 },
      { attention: "mla" },
      { attention: "dcp" },
    ];
    for (const other of others) assertEquals(widths(other), undefined, JSON.stringify(other));
    assertEquals(resolveCut(tiny, { ...SCHEME_DEFAULTS, ranks: 2 }).widths, undefined);
  });

  it("comes to as many bytes on every rank, layer by layer", () => {
    for (const { latentGroups, widths } of CHOSEN) {
      const cut = resolveCut(tiny, { ...SCHEME_DEFAULTS, ranks: latentGroups }, CHOSEN);
      const shapes = partition(tiny, cut);
      const mean = widths.reduce((sum, width) => sum + width, 0) / 6 + 16;
      assertEquals(shapes.map((shape) => shape.latents.map(({ keyWidth }) => keyWidth)), shapes.map(() => widths));
      assertEquals(shapes.map((shape) => cachedWidth(tiny, shape)), shapes.map(() => mean));
      assertEquals(shapes.map((shape) => cacheBytesPerToken(tiny, shape, "f16")), shapes.map(() => mean * 6 * 2));
      assertEquals(handoffBytesPerToken(tiny, shapes, "f32"), latentGroups * mean * 6 * 4);
      // Latents of a layer that drafts have the halo: nothing was measured of it.
      const [first, second] = partition({ ...tiny, mtp: true }, cut);
      assertEquals([first, second].map(({ latents }) => latents.length), [7, 7]);
      assertEquals(second.latents[6].keyWidth, 128 / latentGroups + 16);
    }
  });

  it("is refused where widths are not those of the model", () => {
    const cut = { ranks: 2, latentGroups: 2, halo: 16 };
    for (
      const [widths, says] of [[[64], "widths for 1 layers"], [[64, 64, 64, 64, 64, 129], "layer 5 has 129"], [
        [63, 64, 64, 64, 64, 64],
        "layer 0 has 63",
      ]] as const
    ) {
      assertThrows(() => partition(tiny, { ...cut, widths }), LatentmeshError, says);
    }
  });
});
