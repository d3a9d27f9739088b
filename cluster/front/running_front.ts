/**
 * A front that runs: it looks for cells, and relays.
 *
 * @module
 */
import type { CellRegistry, CellWatch } from "../../core/registry/registry.ts";
import { CellClient, type CellClientOptions } from "./cell_client.ts";
import type { RelayContext } from "./first_answer.ts";
import { FrontCells } from "./front_cells.ts";
import { FrontMetrics } from "./front_metrics.ts";
import { LiveAttempts } from "./live_attempts.ts";

/** Milliseconds between two looks for attempts of which nothing can be expected. */
const SWEEP = 1000;

/** What a front knows and counts. */
export class RunningFront implements AsyncDisposable {
  readonly context: RelayContext;
  readonly #watch: CellWatch;
  readonly #sweeper: ReturnType<typeof setInterval>;

  private constructor(watch: CellWatch, context: RelayContext) {
    this.#watch = watch;
    this.context = context;
    const { attempts, cells } = context;
    this.#sweeper = setInterval(() => attempts.sweep((cell) => cells.lives(cell), performance.now()), SWEEP);
  }

  /** Looks for cells once, and then on and on. @throws {LatentmeshError} `not_found` if the registry cannot be read */
  static async start(registry: CellRegistry, options: CellClientOptions & { readonly onCells?: (cells: FrontCells) => void }): Promise<RunningFront> {
    const cells = new FrontCells();
    const watch: CellWatch = await registry.watch(() => {
      cells.update(watch.cells);
      options.onCells?.(cells);
    });
    cells.update(watch.cells);
    return new RunningFront(watch, { cells, client: new CellClient(options), metrics: new FrontMetrics(), attempts: new LiveAttempts() });
  }

  /** Milliseconds since the registry was last read. */
  get registryAge(): number {
    return this.#watch.age;
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    await this.#watch.close();
    this.context.client[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
