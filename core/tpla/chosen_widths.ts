/**
 * How many directions of its latent every layer keeps on each rank, as a calibration has chosen by measurement and written into `basis.safetensors`.
 *
 * @module
 */
import { z } from "zod";

/** What was chosen for so many latent groups. */
export interface ChosenWidths {
  readonly latentGroups: number;
  /** Directions of the latent that every rank caches, by layer. */
  readonly widths: readonly number[];
}

/** The same with what was measured. */
export interface MeasuredWidths extends ChosenWidths {
  /** Mean KL(MLA ‖ TPLA) per token, in nats, over text of the calibration. */
  readonly kl: number;
  /** The same where all layers have one width or one halo, whichever is better, in no more bytes on any rank. */
  readonly uniformKl: number;
}

/** What is to be chosen. */
export interface WidthBudget {
  readonly latentGroups: number;
  /** Values of a token that a rank may cache, |K_i| + d_r: a mean over layers. */
  readonly values: number;
}

const kl = z.number().finite();

/** As the file has them. */
export const chosenWidthsSchema = z.array(z.strictObject({
  latentGroups: z.int().min(2).max(1024),
  widths: z.array(z.int().min(1).max(2 ** 14)).min(1).max(1024),
  kl,
  uniformKl: kl,
})).max(64);
