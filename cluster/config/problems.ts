/**
 * All that is wrong with a configuration, told at once.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";

/** Collects what checks refuse. */
export class Problems {
  readonly #errors: LatentmeshError[] = [];

  /** What a part comes to; where it is refused, something to go on with until {@link throwAll}. */
  of<T>(part: () => T, instead: T): T {
    try {
      return part();
    } catch (error) {
      if (!(error instanceof LatentmeshError)) throw error;
      this.#errors.push(error);
      return instead;
    }
  }

  /** Makes some checks, each whatever others find. @returns whether nothing was found */
  check(...checks: readonly (() => void)[]): boolean {
    const before = this.#errors.length;
    for (const one of checks) this.of(one, undefined);
    return this.#errors.length === before;
  }

  /** @throws {LatentmeshError} what was found, in lines if there is more than one; `param` is of the first */
  throwAll(): void {
    const [first] = this.#errors;
    if (first === undefined) return;
    if (this.#errors.length === 1) throw first;
    const lines = [...new Set(this.#errors.map(({ message }) => message))];
    throw new LatentmeshError(first.code, lines.join("\n"), { param: first.param, cause: first });
  }
}
