/**
 * Log-probabilities of a prompt.
 *
 * @module
 */
import type { CandidateList } from "../../core/sampling/candidates.ts";
import type { RowQuery } from "../forward/logits_head.ts";
import type { Model } from "../forward/model.ts";

/** @param targets the tokens that follow each of the recorded step's first rows @returns `count` candidates for each */
export async function scorePrompt(model: Model, targets: readonly number[], count: number): Promise<CandidateList[]> {
  const { head, limits } = model;
  const lists: CandidateList[] = [];
  for (let first = 0; first < targets.length; first += limits.logitRows) {
    const queries = targets.slice(first, first + limits.logitRows).map((target): RowQuery => ({
      key: 0,
      position: 0,
      inverseTemperature: 1,
      target,
    }));
    head.recordLogits("prefill", first, queries.length);
    lists.push(...await head.candidates(queries, count, false));
  }
  return lists;
}
