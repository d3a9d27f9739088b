// What went on between two looks at a cluster: who read prompts, who wrote, and what travelled. Everything it is told are running totals.

/**
 * @typedef {object} UnitFlow
 * @property {boolean} reading whether it computed prompts
 * @property {boolean} writing whether it generated
 * @property {number} latents bytes that it handed over, per second
 * @property {number} sums of its ranks' parts, per second; those of an idle unit, which only say that it is alive, are none
 *
 * @typedef {object} Flows
 * @property {Map<string, UnitFlow>} units by their names
 * @property {(from: string, to: string) => boolean} handed whether latents went from one unit to another
 * @property {number} tokens generated per second
 */

/** Whose a unit is, where a server has several models: units are called after them. @param {string} unit */
export const modelOf = (unit) => unit.slice(0, unit.lastIndexOf("/") + 1);

/** How much a total grew; a worker that was started again begins at 0. */
const grown = (before, after) => after >= before ? after - before : after;

/**
 * @param {object} before what `/cluster` said @param {object} after what it says now @param {number} seconds between them
 * @returns {Flows}
 */
export function flowsBetween(before, after, seconds) {
  const earlier = new Map(before.units.flatMap(({ name, workers }) => workers.map(({ rank, stats }) => [`${name}.${rank}`, stats])));
  const flows = new Map(after.units.map((unit) => {
    const pairs = unit.workers.filter(({ stats }) => stats !== null).map(({ rank, stats }) => ({
      was: earlier.get(`${unit.name}.${rank}`) ?? null,
      is: stats,
    }));
    const most = (of) => Math.max(0, ...pairs.map(({ was, is }) => was === null ? 0 : grown(of(was), of(is))));
    const all = (of) => pairs.reduce((sum, { was, is }) => sum + (was === null ? 0 : grown(of(was), of(is))), 0);
    const works = (phase) => most(({ parts }) => parts[phase].steps) > 0 || pairs.some(({ is }) => is.phase === phase);
    const [reading, writing] = [works("prefill"), works("decode")];
    const sums = unit.workers.length > 1 && (reading || writing) ? most(({ collectives }) => collectives) / seconds : 0;
    return [unit.name, { reading, writing, latents: all(({ handoffBytes }) => handoffBytes) / seconds, sums }];
  }));
  // A worker says how much it handed over, not to whom: it was to groups of its model that hold sequences, or did.
  const takersOf = (from) => {
    const groups = after.units.filter(({ name, role }) => role === "decode" && modelOf(name) === modelOf(from));
    const takes = groups.filter(({ name, sequences }) => sequences > 0 || flows.get(name).writing);
    return (takes.length > 0 ? takes : groups).map(({ name }) => name);
  };
  return {
    units: flows,
    handed: (from, to) => (flows.get(from)?.latents ?? 0) > 0 && takersOf(from).includes(to),
    tokens: grown(before.generatedTokens, after.generatedTokens) / seconds,
  };
}
