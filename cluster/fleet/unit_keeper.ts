/**
 * Brings one unit up and up again: gives its workers what they are to be, links them, and tries again when that fails. Units are kept apart from each other, so that
 * none waits while another's workers load for minutes.
 *
 * @module
 */
import { asLatentmeshError, LatentmeshError } from "../../core/errors.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import { log, logRecord } from "../logs/log.ts";
import { MOST_ATTEMPTS, RETRY_DELAY, TOLD_ATTEMPT } from "./link_attempts.ts";
import type { Member, Unit } from "./unit.ts";

/** What a {@link UnitKeeper} does and tells. */
export interface KeeperOptions {
  readonly unit: Unit;
  /** Whether what workers are to be can be said already. */
  canAssign(): boolean;
  /** Tells a worker what it is to be; resolves when it has loaded it. @throws {LatentmeshError} */
  assign(unit: Unit, member: Member): Promise<void>;
  /** The unit is linked. @param fresh whether nothing is cached there */
  onFormed(unit: Unit, fresh: boolean): void;
  /** A worker does not answer. */
  onSilent(worker: string): void;
  /** The unit cannot be brought up. */
  onGivenUp(unit: Unit, error: LatentmeshError): void;
}

/** Keeps one unit. */
export class UnitKeeper {
  readonly #options: KeeperOptions;
  /** Workers that have been told what they are to be. */
  readonly #assigning = new WeakSet<Member>();
  #working = false;
  #again = false;
  #attempts = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** Looks what is to be done; at what has been said meanwhile, too. */
  wake(): void {
    if (this.#closed) return;
    this.#again = true;
    if (!this.#working) void this.#work();
  }

  /** Does nothing any more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #work(): Promise<void> {
    this.#working = true;
    while (this.#again && !this.#closed) {
      this.#again = false;
      try {
        await this.#pass();
        this.#attempts = 0;
      } catch (error) {
        this.#failed(asLatentmeshError(error));
      }
    }
    // In the same turn as it looked for the last time: whoever comes now would be heard by nobody.
    this.#working = false;
  }

  async #pass(): Promise<void> {
    const { unit, canAssign, onFormed } = this.#options;
    if (unit.givenUp !== null || !canAssign()) return;
    for (const member of unit.members) if (member !== null && !this.#assigning.has(member)) void this.#assign(member);
    if (!unit.complete || unit.formed) return;
    const fresh = await unit.form();
    if (this.#closed) return;
    // Whoever has read that a worker is gone wants to read that it is over.
    if (unit.epoch > 1) logRecord("info", "{unit} works again, in epoch {epoch}", { unit: unit.name, epoch: unit.epoch });
    else log("debug", `${unit.name} is linked`);
    onFormed(unit, fresh);
  }

  /** Each worker by itself: one that loads for minutes is not asked again because another has died. */
  async #assign(member: Member): Promise<void> {
    const { unit, assign, onGivenUp } = this.#options;
    this.#assigning.add(member);
    try {
      await assign(unit, member);
      this.wake();
    } catch (error) {
      const failure = asLatentmeshError(error);
      // One that died meanwhile is started again; one that cannot load will not be able to next time either.
      if (!this.#closed && failure.code !== "worker_lost" && unit.members.includes(member)) onGivenUp(unit, failure);
    }
  }

  #failed(error: LatentmeshError): void {
    if (this.#closed) return;
    const { unit, onSilent, onGivenUp } = this.#options;
    if (error instanceof WorkerError && error.silent !== null) onSilent(error.silent);
    if (error.code === "invalid_config" || error.code === "unsupported") return onGivenUp(unit, error);
    if (++this.#attempts >= MOST_ATTEMPTS) {
      return onGivenUp(
        unit,
        new LatentmeshError("worker_lost", `${unit.name} could not be linked after ${this.#attempts} attempts: ${error.message}`),
      );
    }
    log(this.#attempts === TOLD_ATTEMPT ? "warn" : "debug", `${unit.name} cannot be linked yet: ${error.message}`);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.wake(), RETRY_DELAY);
  }
}
