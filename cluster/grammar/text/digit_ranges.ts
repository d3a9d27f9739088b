/**
 * Ranges of numbers as sequences of ranges of digits, most significant first: of bytes of UTF-8, or of hexadecimal digits.
 *
 * @module
 */

/** Digits at one place, inclusive. */
export type DigitRange = readonly [from: number, to: number];

/**
 * Sequences that together are all numbers from `from` to `to`, of as many digits as `from` and `to` have.
 *
 * @param lowest of every digit
 * @param highest of every digit
 */
export function digitRanges(from: readonly number[], to: readonly number[], lowest: number, highest: number): DigitRange[][] {
  if (from.length === 0) return [[]];
  const [first, last] = [from[0], to[0]];
  const [restFrom, restTo] = [from.slice(1), to.slice(1)];
  const all = (digit: number) => restFrom.map(() => digit);
  const after = (range: DigitRange, low: readonly number[], high: readonly number[]) =>
    digitRanges(low, high, lowest, highest).map((rest) => [range, ...rest]);
  if (first === last) return after([first, first], restFrom, restTo);
  const parts: DigitRange[][] = [];
  let [middleFrom, middleTo] = [first, last];
  if (restFrom.some((digit) => digit !== lowest)) {
    parts.push(...after([first, first], restFrom, all(highest)));
    middleFrom++;
  }
  const end = restTo.some((digit) => digit !== highest) ? after([last, last], all(lowest), restTo) : [];
  if (end.length > 0) middleTo--;
  if (middleFrom <= middleTo) parts.push(...after([middleFrom, middleTo], all(lowest), all(highest)));
  return [...parts, ...end];
}
