/**
 * Prometheus metrics of a front: where requests went, how long that took to decide, and what became of cells.
 *
 * @module
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { FrontCells, RoutingReason } from "./front_cells.ts";

const DECISION = [0.00001, 0.000025, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005];
const OVERHEAD = [0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1];

/** What cells are called together that are registered no longer; no cell has such an id. */
const GONE = "(gone)";

/** Counts for one front. */
export class FrontMetrics {
  readonly #registry = new Registry();
  readonly #requests = counter(this.#registry, "requests", "Requests that clients have made, by path and status", ["path", "status"]);
  readonly #routed = counter(this.#registry, "routed", "Cells that were chosen, by why", ["reason"]);
  readonly #decision = this.#histogram("routing_decision_seconds", "Choosing a cell", DECISION);
  readonly #prepared = this.#histogram(
    "request_preparation_seconds",
    "From a request's head to its being sent to a cell: reading, understanding, choosing",
    OVERHEAD,
  );
  /** Requests that a cell did not answer to their end, by cell and why. */
  readonly #failures = new Map<string, Map<string, number>>();
  readonly #failovers = counter(this.#registry, "failovers", "Streams that lost their cell, by what became of them", ["outcome"]);

  constructor() {
    // What appears with its first count has not grown to whoever watches how it grows.
    for (const outcome of ["continued", "none"]) this.#failovers.inc({ outcome }, 0);
  }

  /** A request has been answered; of a stream, to its end. */
  answered(path: string, status: number): void {
    this.#requests.inc({ path, status: String(status) });
  }

  /** A request has been understood. */
  prepared(seconds: number): void {
    this.#prepared.observe(seconds);
  }

  /** A cell was chosen. */
  routed(reason: RoutingReason | "none", seconds: number): void {
    this.#routed.inc({ reason });
    this.#decision.observe(seconds);
  }

  /** A cell has failed a request. */
  cellFailed(cell: string, reason: string): void {
    this.#addFailures(cell, reason, 1);
  }

  #addFailures(cell: string, reason: string, count: number): void {
    const reasons = this.#failures.get(cell) ?? new Map<string, number>();
    reasons.set(reason, (reasons.get(reason) ?? 0) + count);
    this.#failures.set(cell, reasons);
  }

  /** Cells come and go under ever new names: those that have left are counted together. */
  #countGone(cells: FrontCells): void {
    const ids = new Set(cells.all.map(({ id }) => id));
    for (const [cell, reasons] of [...this.#failures]) {
      if (ids.has(cell) || cell === GONE) continue;
      this.#failures.delete(cell);
      for (const [reason, count] of reasons) this.#addFailures(GONE, reason, count);
    }
  }

  /** A stream has lost its cell. */
  failedOver(outcome: "continued" | "none"): void {
    this.#failovers.inc({ outcome });
  }

  /** The text that Prometheus reads. */
  async expose(cells: FrontCells, registryAge: number): Promise<{ readonly contentType: string; readonly text: string }> {
    const now = new Registry();
    const gauge = (name: string, help: string, labelNames: string[] = []) =>
      new Gauge({ name: `latentmesh_front_${name}`, help, labelNames, registers: [now] });
    const counts = gauge("cells", "Cells that are registered, by state", ["state"]);
    for (const state of ["loading", "ready", "draining"]) counts.set({ state }, cells.all.filter((cell) => cell.state === state).length);
    const running = gauge("requests_in_flight", "Requests of this front that cells are computing, by cell", ["cell"]);
    const load = gauge("cell_load", "Requests that a cell has, by its own account", ["cell"]);
    for (const { id, load: { running: decoding, waiting } } of cells.all) {
      running.set({ cell: id }, cells.running(id));
      load.set({ cell: id }, decoding + waiting);
    }
    this.#countGone(cells);
    const failures = counter(now, "cell_failures", "Requests that a cell did not answer to their end, by cell and why", ["cell", "reason"]);
    for (const [cell, reasons] of this.#failures) for (const [reason, count] of reasons) failures.inc({ cell, reason }, count);
    gauge("registry_age_seconds", "Since the registry was last read").set(registryAge / 1000);
    return { contentType: this.#registry.contentType, text: await Registry.merge([this.#registry, now]).metrics() };
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `latentmesh_front_${name}`, help, buckets, registers: [this.#registry] });
  }
}

function counter(registry: Registry, name: string, help: string, labelNames: string[]): Counter {
  return new Counter({ name: `latentmesh_front_${name}_total`, help, labelNames, registers: [registry] });
}
