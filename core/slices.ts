/**
 * Long work beside other work.
 *
 * @module
 */

/** Milliseconds of work after which others have their turn. */
const SLICE = 2;

/** Work in slices. */
export class Slices {
  #since = performance.now();

  /** Lets others have their turn, if it is time. */
  async breathe(): Promise<void> {
    if (performance.now() - this.#since < SLICE) return;
    await new Promise((resolve) => setTimeout(resolve));
    this.#since = performance.now();
  }

  /** Maps a list, run by run. */
  async map<T, R>(list: readonly T[], run: number, map: (part: readonly T[], at: number) => readonly R[]): Promise<R[]> {
    const all: R[] = [];
    for (let at = 0; at < list.length; at += run) {
      for (const one of map(list.slice(at, at + run), at)) all.push(one);
      await this.breathe();
    }
    return all;
  }
}
