/**
 * The layer that drafts, on a rank: it runs between steps, with the other ranks of its unit.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { LogitsAnswer } from "../../core/generation.ts";
import type { Collective } from "../collective/collective.ts";
import type { StepRow } from "../forward/context.ts";
import type { HeadQuery } from "../forward/logits_head.ts";
import type { Model } from "../forward/model.ts";
import { RankForward } from "./rank.ts";

/** One rank's. */
export class DraftHead {
  readonly #model: Model;
  #forward: RankForward | null = null;

  /** @param model see `Model.draftHead` */
  constructor(model: Model) {
    this.#model = model;
  }

  /** Begins an epoch. */
  async reset(collective: Collective): Promise<void> {
    await this.#forward?.destroy();
    this.#forward = await RankForward.create(this.#model, collective);
  }

  /**
   * Answers what is asked of the token behind each row.
   *
   * @param rows one for each query
   * @param ahead whether their tokens are drafts themselves
   * @throws {LatentmeshError} `protocol`
   */
  async run(rows: readonly StepRow[], queries: readonly HeadQuery[], ahead: boolean): Promise<LogitsAnswer[]> {
    const { head, limits, cache } = this.#model;
    if (this.#forward === null) throw new LatentmeshError("protocol", "This rank has not joined its group yet");
    if (rows.length !== queries.length || rows.length > Math.min(limits.decodeRows, limits.logitRows)) {
      throw new LatentmeshError(
        "protocol",
        `Drafts behind ${rows.length} rows with ${queries.length} queries; the most are ${limits.decodeRows} rows`,
      );
    }
    for (const { position, sequence } of rows) {
      if (ahead ? position <= sequence.length : position !== sequence.length) {
        throw new LatentmeshError("protocol", `A draft behind position ${position} of a sequence that has ${sequence.length} tokens`);
      }
      if (!cache.holds(sequence, position + 1)) throw new LatentmeshError("protocol", `A draft behind position ${position}, which has no block`);
    }
    await this.#forward.run({ phase: "decode", rows });
    head.recordLogits("decode", 0, rows.length);
    return await head.answers(queries);
  }
}
