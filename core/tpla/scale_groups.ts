/**
 * Which values of a latent share a scale where latents are cached in eight bits (`cache.dtype: q8`).
 *
 * What a rank of a TPLA group caches of a token it computes itself where the token was generated, from its own columns, and is handed where the token was part of a
 * prompt, by a unit that has computed all columns. Both must round the same numbers in the same way. So no group reaches over a place where the latent is cut, and
 * every rank has whole groups: those who hold whole latents round them as those round who hold parts, and what is handed over are the bytes as they lie.
 *
 * @module
 */
import { scaleGroupsOf } from "../cache/cache_dtype.ts";
import { invariant } from "../errors.ts";
import type { Range } from "../model/matrix_source.ts";

/**
 * Widths of the groups that some columns consist of.
 *
 * @param columns ascending ranges, each of which begins and ends where the latent is cut
 * @param cuts where it is cut, apart from its beginning and its end
 */
export function scaleGroups(columns: readonly Range[], cuts: Iterable<number>): number[] {
  const ascending = [...new Set(cuts)].sort((a, b) => a - b);
  return columns.flatMap(({ begin, end }) => {
    const ends = [...ascending.filter((cut) => cut > begin && cut < end), end];
    return ends.flatMap((next, i) => scaleGroupsOf(next - (ends[i - 1] ?? begin)));
  });
}

/**
 * Which of some consecutive groups lie in which columns.
 *
 * @param widths of all groups, which begin with column 0
 * @returns their indices, in the order of the columns
 */
export function groupsWithin(widths: readonly number[], columns: readonly Range[]): number[] {
  let end = 0;
  const groups = widths.map((width) => ({ begin: end, end: end += width }));
  return columns.flatMap((range) => {
    const within = groups.flatMap(({ begin, end }, i) => begin >= range.begin && end <= range.end ? [i] : []);
    const width = within.reduce((sum, i) => sum + widths[i], 0);
    invariant(width === range.end - range.begin, `columns ${range.begin} to ${range.end} are no whole groups of a scale`);
    return within;
  });
}
