/**
 * Forks that wait for their group's next step. What is forked from keeps its blocks until the copy is made.
 *
 * @module
 */
import type { Fork } from "./plan.ts";
import type { DecodeGroup, Placement } from "./state.ts";

/** Forks that have not been made. */
export class Forks {
  readonly #waiting = new Map<DecodeGroup, Fork[]>();
  readonly #settle: (placement: Placement) => void;

  /** @param settle told of placements that nothing needs any more for a fork */
  constructor(settle: (placement: Placement) => void) {
    this.#settle = settle;
  }

  /** Will be made with the group's next step. */
  add(group: DecodeGroup, fork: Fork): void {
    fork.from.uses++;
    this.#waiting.set(group, [...this.#waiting.get(group) ?? [], fork]);
  }

  /** Those to make now; their `from` stays in use until the step has ended. */
  take(group: DecodeGroup): readonly Fork[] {
    const forks = this.#waiting.get(group) ?? [];
    this.#waiting.delete(group);
    return forks;
  }

  /** Forgets one that nobody wants any more: there may be no step in which that would come to light. */
  forget(group: DecodeGroup, placement: Placement): void {
    const forks = this.#waiting.get(group) ?? [];
    const fork = forks.find((one) => one.placement === placement);
    if (fork === undefined) return;
    this.#waiting.set(group, forks.filter((one) => one !== fork));
    fork.from.uses--;
    this.#settle(fork.from);
  }

  /** Forgets those of a lost group. */
  drop(group: DecodeGroup): void {
    for (const { from } of this.#waiting.get(group) ?? []) from.uses--;
    this.#waiting.delete(group);
  }
}
