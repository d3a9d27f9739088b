/**
 * What a rank drafts, and what it does not: behind the last token that counts, and no further than it has blocks.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { BLOCK_TOKENS } from "../../../core/cache/blocks.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import type { QueryFrame } from "../../../core/wire/queries.ts";
import { SoloCollective } from "../../../workers/collective/collective.ts";
import { DecodeRank } from "../../../workers/roles/decode.ts";
import { DraftHead } from "../../../workers/roles/draft_head.ts";
import { openTestDevice } from "../../support/devices.ts";
import { loadDraftingModel } from "../../support/fixtures.ts";
import { ODD_MTP_CONFIG, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";

const QUERY: QueryFrame = { key: 1, position: 0, inverseTemperature: 1, plain: 3, adjusted: 0, draw: false, base: 0, changes: [], mask: null };
const AHEAD: QueryFrame = { ...QUERY, base: null };

describe("a rank that drafts", () => {
  it("answers as often as it is asked, forgets what was wrong, and refuses what does not follow", async () => {
    const directory = await writeRandomCheckpoint(ODD_MTP_CONFIG);
    const device = await openTestDevice("wasm");
    try {
      const { model, draft } = await loadDraftingModel(device, directory);
      const rank = await DecodeRank.create([model], { draft: new DraftHead(draft) });
      const nothing = { forks: [], grow: [] };
      const behind = (position: number, ahead = false, grow: { sequence: number; blocks: number[] }[] = []) =>
        rank.draft([{ sequence: 1, token: 9, position }], [ahead ? AHEAD : QUERY], { ahead, grow });
      const refused = async (said: string, run: () => Promise<unknown>) =>
        assertEquals((await assertRejects(run, LatentmeshError, said)).code, "protocol");
      const cached = model.cache.open(0);
      model.cache.hold(cached, [0]);
      rank.adopt(1, cached);
      await refused("has not joined", () => behind(0));
      await rank.reset([new SoloCollective()]);
      const again = model.cache.open(0);
      model.cache.hold(again, [0]);
      rank.adopt(1, again);
      const tokens = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
      for (const [i, token] of tokens.entries()) {
        if (i % 5 === 4) await rank.step([{ sequence: 1, token, position: i }], [QUERY], nothing);
        else await rank.step([{ sequence: 1, token, position: i }], [], nothing);
      }
      const first = await behind(13);
      assertEquals(first[0].plain!.tokens.length, 3);
      assertEquals(await behind(13), first);
      await behind(14, true);
      // Two drafts are verified, of which the first is wrong.
      const rows = [9, 1, 2].map((token, i) => ({ sequence: 1, token, position: 13 + i }));
      await rank.step(rows, [QUERY, AHEAD, AHEAD], nothing);
      const [second] = await behind(14);
      assert(second.plain!.logits.every(Number.isFinite));
      await refused("A draft behind position 16", () => behind(16));
      await refused("A draft behind position 14", () => behind(14, true));
      await refused("which has no block", () => behind(BLOCK_TOKENS, true));
      await behind(15, true);
      await behind(BLOCK_TOKENS, true, [{ sequence: 1, blocks: [1] }]);
      await refused("Nothing was asked", () => rank.row(0));
      await refused("is not open", () => rank.draft([{ sequence: 2, token: 9, position: 1 }], [QUERY], { ahead: false, grow: [] }));
      await refused(
        "does not begin its adjustments anew",
        () => rank.draft([{ sequence: 1, token: 9, position: 17 }], [QUERY], { ahead: true, grow: [] }),
      );
      // As if nothing had been drafted.
      await rank.step([{ sequence: 1, token: 9, position: 14 }], [QUERY], nothing);
      rank.close(1);
      model.cache.checkIntegrity();
      const plain = await DecodeRank.create([model]);
      await refused("no layer that drafts", () => plain.draft([{ sequence: 1, token: 9, position: 0 }], [QUERY], { ahead: false, grow: [] }));
    } finally {
      await device.close();
      await Deno.remove(directory, { recursive: true });
    }
  });
});
