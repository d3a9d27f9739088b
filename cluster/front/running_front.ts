/**
 * A front that runs: it looks for cells, and relays.
 *
 * @module
 */
import type { CellRegistry, CellWatch } from "../../core/registry/registry.ts";
import { log } from "../logs/log.ts";
import { RepeatedLog } from "../logs/repeated_log.ts";
import { CellClient, type CellClientOptions } from "./cell_client.ts";
import type { RelayContext } from "./first_answer.ts";
import { FrontCells } from "./front_cells.ts";
import { FrontMetrics } from "./front_metrics.ts";
import { LiveAttempts } from "./live_attempts.ts";
import { RequestReader } from "./request_reader.ts";
import { Silence, type SilenceTimes } from "./silence.ts";

/** Options of {@link RunningFront.start}. */
export interface RunningFrontOptions extends CellClientOptions {
  /** Told when cells have changed. */
  readonly onCells?: (cells: FrontCells) => void;
  readonly times?: SilenceTimes;
}

/** What a front knows and counts. */
export class RunningFront implements AsyncDisposable {
  readonly context: RelayContext;
  readonly #watch: CellWatch;
  readonly #silence: Silence;

  private constructor(watch: CellWatch, context: RelayContext, times?: SilenceTimes) {
    this.#watch = watch;
    this.context = context;
    this.#silence = new Silence(context, times);
  }

  /** Looks for cells once, and then on and on. @throws {LatentmeshError} `not_found` if the registry cannot be read */
  static async start(registry: CellRegistry, options: RunningFrontOptions): Promise<RunningFront> {
    const cells = new FrontCells();
    const watch: CellWatch = await registry.watch(() => {
      cells.update(watch.cells);
      options.onCells?.(cells);
    });
    cells.update(watch.cells);
    const context = {
      cells,
      client: new CellClient(options),
      metrics: new FrontMetrics(),
      attempts: new LiveAttempts(),
      reader: new RequestReader(),
      refused: new RepeatedLog((line) => log("error", line)),
    };
    return new RunningFront(watch, context, options.times);
  }

  /** Milliseconds since the registry was last read. */
  get registryAge(): number {
    return this.#watch.age;
  }

  async close(): Promise<void> {
    await this.#silence[Symbol.asyncDispose]();
    await this.#watch.close();
    this.context.reader[Symbol.dispose]();
    this.context.client[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
