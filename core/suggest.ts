/**
 * What somebody may have meant who misspelled a name.
 *
 * @module
 */

/**
 * The candidate that is most like a name; null if none is like it. Case, dashes and underscores do not count, and of paths (`server.port`) the last part may be
 * what is meant.
 */
export function suggest(name: string, candidates: readonly string[]): string | null {
  const meant = plain(name);
  let best: string | null = null;
  // Up to a third of its letters may be wrong, of short names one.
  let least = Math.max(1, Math.floor(meant.length / 3)) + 1;
  for (const candidate of candidates) {
    const away = Math.min(...[candidate, candidate.split(".").at(-1)!].map((written) => distance(meant, plain(written), least)));
    if (away < least) [best, least] = [candidate, away];
  }
  return best;
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[-_]/g, "");
}

/**
 * Letters that are to be put in, left out, replaced or swapped with the next. (Damerau and Levenshtein, optimal string alignment.)
 *
 * @param bound from which on it does not matter how many: names that clients send may be megabytes
 */
function distance(from: string, to: string, bound: number): number {
  if (Math.abs(from.length - to.length) >= bound) return Infinity;
  let before: number[] = [];
  let above = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1];
      row[j] = Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (same ? 0 : 1));
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) row[j] = Math.min(row[j], before[j - 2] + 1);
    }
    [before, above] = [above, row];
  }
  return above[to.length];
}
