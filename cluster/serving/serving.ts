/**
 * Serves requests on the units of a cluster: the scheduler decides, requests wait and take tokens, units are fed; and all goes on elsewhere when one fails.
 * Prefill and decode proceed side by side; each unit does one thing at a time.
 *
 * @module
 */
import type { TokenEvent, TokenRequest } from "../../core/engine.ts";
import { asLatentmeshError, LatentmeshError } from "../../core/errors.ts";
import { newStepTimes, type StepTimes } from "../../core/step_times.ts";
import type { Unit, UnitListener } from "../fleet/unit.ts";
import type { Units } from "../fleet/unit_host.ts";
import type { SchedulerOptions } from "../scheduler/plan.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import { type DecodeGroup, MixedUnit, type PromptUnit } from "../scheduler/state.ts";
import { Requests, type RequestsOptions } from "./requests.ts";
import { UnitPump, type UnitPumpOptions } from "./unit_pump.ts";

/** Options of {@link Serving}. */
export interface ServingOptions
  extends
    Pick<RequestsOptions, "maxContext" | "speculate" | "mtp" | "shortPositions" | "onArrival">,
    Pick<UnitPumpOptions, "vocabulary" | "deadlineMs"> {
  readonly scheduler: SchedulerOptions;
  /** Of the model. */
  readonly layers: number;
  /** Blocks of a decode group's cache, or a mixed unit's; and of a prefill unit's. */
  readonly decodeBlocks: number;
  readonly prefillBlocks: number;
  /** Blocks of whole latents that a mixed unit has for prompts, where it generates from slices; null: it computes where it generates from. */
  readonly promptBlocks: number | null;
  /** Most milliseconds between two tokens of a stream while a mixed unit computes prompts beside it; undefined: about three steps, see `chunk_sizes.ts`. */
  readonly maxStepMs?: number;
  /** Milliseconds that requests wait for units to be repaired. */
  readonly patienceMs?: number;
}

/** Milliseconds that requests wait for units to be repaired. */
const REPAIR_PATIENCE = 30_000;

/** Serves requests on the units of a cluster. */
export class Serving implements UnitListener {
  readonly scheduler: Scheduler;
  readonly times: StepTimes = newStepTimes();
  readonly #options: ServingOptions;
  readonly #requests: Requests;
  readonly #pump: UnitPump;
  #kicked = false;
  #blocked: ReturnType<typeof setTimeout> | undefined;

  constructor(units: Units, options: ServingOptions) {
    const { times } = this;
    const { maxContext, speculate, mtp, shortPositions, onArrival, scheduler: { blockTokens, chunkTokens, stepRows } } = options;
    const onChange = () => this.#kick();
    this.#options = options;
    const scheduler = this.scheduler = new Scheduler(options.scheduler);
    const requests = this.#requests = new Requests(scheduler, times, {
      maxContext,
      blockTokens,
      speculate,
      mtp,
      shortPositions,
      onArrival,
      onChange,
    });
    this.#pump = new UnitPump(units, { scheduler, requests, times }, { ...options, chunkTokens, stepRows, onChange });
  }

  /** Whether a request could be placed now, if there were room. */
  get ready(): boolean {
    const { prefillUnits, decodeGroups } = this.scheduler;
    const serves = (unit: PromptUnit, group: DecodeGroup) =>
      unit === group || (!(unit instanceof MixedUnit) && !(group instanceof MixedUnit) && this.#pump.usable(unit, group));
    return [...decodeGroups.values()].some((group) => group.up && [...prefillUnits.values()].some((unit) => unit.up && serves(unit, group)));
  }

  /** Serves one request; resolves when it has ended. @throws {LatentmeshError} `overloaded`, `cancelled`, `capacity`, `worker_lost` */
  serve(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    return this.#requests.serve(request, emit);
  }

  /** Ends every request. */
  failAll(error: LatentmeshError): void {
    this.#requests.failAll(error);
  }

  /** Resolves when nothing is served any more. */
  idle(): Promise<void> {
    return this.#requests.idle();
  }

  up(unit: Unit, fresh: boolean): void {
    const { decodeBlocks, prefillBlocks, promptBlocks } = this.#options;
    this.#pump.know(unit);
    const { role } = unit.plan;
    if (role === "decode") this.scheduler.decodeUp(unit.name, fresh ? decodeBlocks : null);
    else if (role === "mixed") this.scheduler.mixedUp(unit.name, fresh ? decodeBlocks : null, promptBlocks);
    else this.scheduler.prefillUp(unit.name, fresh ? prefillBlocks : null);
    this.#kick();
  }

  down(unit: Unit): void {
    this.scheduler.down(unit.name);
    this.#kick();
  }

  linked(): void {
    this.#kick();
  }

  /** Starts whatever can start, once what happens now has happened: requests that come together are placed together. */
  #kick(): void {
    if (this.#kicked) return;
    this.#kicked = true;
    queueMicrotask(() => {
      this.#kicked = false;
      try {
        this.#start();
      } catch (error) {
        // Nobody in particular can be placed any more.
        this.failAll(asLatentmeshError(error));
      }
    });
  }

  #start(): void {
    for (const sequence of this.scheduler.exhausted()) {
      const lost = `Workers were lost ${sequence.losses} times while they computed this request`;
      this.#requests.end(sequence, new LatentmeshError("worker_lost", lost));
    }
    this.#requests.tell();
    for (const placement of this.scheduler.admit(performance.now(), (prefill, decode) => this.#pump.usable(prefill, decode))) {
      if (placement.decode !== null && !placement.mixed) void this.#pump.open(placement, placement.decode);
    }
    this.#pump.start();
    this.#watchBlocked();
  }

  /** Requests that nothing can serve wait for repairs, but not for ever. */
  #watchBlocked(): void {
    if (this.ready || this.#requests.size === 0) {
      clearTimeout(this.#blocked);
      this.#blocked = undefined;
      return;
    }
    this.#blocked ??= setTimeout(() => {
      this.#blocked = undefined;
      this.failAll(new LatentmeshError("capacity", "No decode group can serve: workers are gone and were not replaced in time"));
    }, this.#options.patienceMs ?? REPAIR_PATIENCE);
  }
}
