/**
 * Which prefill units can hand over to which decode groups. Each pair is linked anew when one of them has begun another epoch.
 *
 * @module
 */
import { asLatentmeshError, type LatentmeshError } from "../../core/errors.ts";
import { log } from "../logs/log.ts";
import { MOST_ATTEMPTS, RETRY_DELAY, TOLD_ATTEMPT } from "./link_attempts.ts";
import { linkUnits, type Unit } from "./unit.ts";

/** What {@link UnitLinks} tells. */
export interface LinkListener {
  /** Prompts of some unit can be handed to some group. */
  onLinked(): void;
  /** A pair could not be linked, again and again. */
  onFailed(prefill: Unit, decode: Unit, error: LatentmeshError): void;
}

/** A pair of units in certain epochs. */
interface Pair {
  readonly prefill: Unit;
  readonly decode: Unit;
  readonly epochs: readonly [number, number];
}

/** Links of all units of a cluster. */
export class UnitLinks {
  readonly #listener: LinkListener;
  readonly #linked: Pair[] = [];
  readonly #linking = new Set<string>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #closed = false;

  constructor(listener: LinkListener) {
    this.#listener = listener;
  }

  /** Whether prompts of a unit can be handed to a group now. */
  usable(prefill: Unit, decode: Unit): boolean {
    return prefill.formed && decode.formed && this.#linked.some((pair) => pair.prefill === prefill && pair.decode === decode && isCurrent(pair));
  }

  get any(): boolean {
    return this.#linked.some((pair) => isCurrent(pair) && pair.prefill.formed && pair.decode.formed);
  }

  /** Links a unit that was formed with all of the other kind; mixed ones need nobody. */
  link(unit: Unit, units: readonly Unit[]): void {
    if (unit.plan.role === "mixed") return;
    const others = units.filter((other) => other.plan.role !== unit.plan.role && other.plan.role !== "mixed");
    for (const other of others) {
      const [prefill, decode] = unit.plan.role === "prefill" ? [unit, other] : [other, unit];
      void this.#try(prefill, decode, 1);
    }
  }

  /** Links nothing any more. */
  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  async #try(prefill: Unit, decode: Unit, attempt: number): Promise<void> {
    const pair: Pair = { prefill, decode, epochs: [prefill.epoch, decode.epoch] };
    const name = `${prefill.name}@${prefill.epoch} ${decode.name}@${decode.epoch}`;
    if (this.#closed || !prefill.formed || !decode.formed || this.usable(prefill, decode) || this.#linking.has(name)) return;
    this.#linking.add(name);
    try {
      await linkUnits(prefill, decode);
      if (this.#closed || !isCurrent(pair)) return;
      this.#linked.splice(0, this.#linked.length, ...this.#linked.filter(isCurrent), pair);
      this.#listener.onLinked();
    } catch (error) {
      if (!this.#closed && isCurrent(pair)) this.#failed(pair, attempt, asLatentmeshError(error));
    } finally {
      this.#linking.delete(name);
    }
  }

  #failed({ prefill, decode }: Pair, attempt: number, error: LatentmeshError): void {
    log(attempt === TOLD_ATTEMPT ? "warn" : "debug", `${prefill.name} cannot be linked with ${decode.name} yet: ${error.message}`);
    if (attempt >= MOST_ATTEMPTS) return this.#listener.onFailed(prefill, decode, error);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#try(prefill, decode, attempt + 1);
    }, RETRY_DELAY);
    this.#timers.add(timer);
  }
}

function isCurrent({ prefill, decode, epochs }: Pair): boolean {
  return prefill.epoch === epochs[0] && decode.epoch === epochs[1];
}
