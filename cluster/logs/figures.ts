/**
 * Figures for people.
 *
 * @module
 */

/** With so many decimals, or with two digits where those would be noughts. */
export function formatFigure(value: number, decimals: number): string {
  const tells = value === 0 || Math.abs(value) >= 10 ** (1 - decimals);
  return tells ? value.toFixed(decimals) : String(Number(value.toPrecision(2)));
}
