/**
 * The tokens that sparse attention attends to where ranks share latents by tokens: every rank has index keys of all tokens and chooses the same ones, and each attends to
 * those of them that it keeps.
 *
 * @module
 */
import { keepsToken, keptTokens, type TokenShare } from "../../core/cache/token_share.ts";
import type { Kernel } from "../authoring/contract.ts";
import { slotOf } from "../latent_cache/layout.ts";
import { contextOf } from "../latent_decode/splits.ts";
import { chooseTokens, type ChooseTokensConfig, choosingWgsl, topPositions } from "./choose_tokens.ts";
import giveKept from "./give_kept.wgsl" with { type: "text" };
import giveSlots from "./give_slots.wgsl" with { type: "text" };

/** Configuration of {@link chooseKept}. */
export interface ChooseKeptConfig extends Omit<ChooseTokensConfig, "gives"> {
  /** Tokens of every sequence that are kept here. */
  readonly tokens: TokenShare;
}

/**
 * As {@link chooseTokens}, which says what becomes of scores; of what is chosen, slots of those tokens that are kept here, by ascending position, go to `chosen`, and
 * their number less one takes the place of the position in the row's words of `attended`, [rows of the step, 4]: 2³² - 1 where none is kept.
 */
export const chooseKept: Kernel<ChooseKeptConfig, "scores" | "tables" | "step" | "chosen" | "attended", "rows" | "first_row"> = {
  name: "choose_kept",
  bindings: { ...chooseTokens.bindings, attended: "read_write" },
  params: ["rows", "first_row"],
  wgsl: ({ tokens: { index, of }, ...config }) => choosingWgsl(config, { SHARE: index, SHARES: of }, giveKept, giveSlots),
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: (config, params) => ({ ...chooseTokens.sizes({ ...config, gives: "slots" }, params), attended: (params.first_row + params.rows) * 16 }),
  reference({ positions, topTokens, stride, tokens }, { scores, tables, step, chosen, attended }, { rows, first_row }) {
    for (let i = 0; i < rows; i++) {
      const row = first_row + i;
      const own = scores.f32.subarray(i * positions, i * positions + contextOf(step.u32, row));
      const kept = topPositions(own, topTokens).filter((position) => keepsToken(tokens, position));
      kept.forEach((position, place) => {
        chosen.u32[row * stride + place] = slotOf(tables, step.u32[row * 4 + 3], keptTokens(tokens, position));
      });
      attended.u32[row * 4 + 1] = kept.length - 1;
    }
  },
};
