/**
 * Cells and fronts as processes of the command line, which meet in a registry.
 *
 * @module
 */
import { NatsServer } from "./nats_server.ts";
import { Running } from "./running.ts";
import { until } from "./until.ts";

/** Options of {@link Fleet.start}. */
export interface FleetOptions {
  /** NATS as the registry, of a server of its own; else a directory. */
  readonly nats: boolean;
  readonly cells: readonly string[];
  readonly fronts: number;
  /** Arguments of every cell. */
  readonly args: readonly string[];
}

/** A cell as fronts tell of it. */
export interface KnownCell {
  readonly id: string;
  readonly url: string;
  readonly state: string;
  readonly beat: number;
  readonly fingerprint: string | null;
  readonly requestsOfThisFront: number;
}

/** All of them. */
export class Fleet implements AsyncDisposable {
  /** As `--registry` takes it. */
  readonly registry: string;
  /** null: the registry is a directory. */
  readonly nats: NatsServer | null;
  /** By id. */
  readonly cells = new Map<string, Running>();
  readonly fronts: Running[] = [];
  /** Of the fronts. */
  readonly urls: string[] = [];
  readonly #directory: string;
  readonly #args: readonly string[];

  private constructor(directory: string, nats: NatsServer | null, args: readonly string[]) {
    this.#directory = directory;
    this.nats = nats;
    this.registry = nats?.url ?? `file:${directory}`;
    this.#args = args;
  }

  /** Starts them, and waits until all know each other. */
  static async start({ nats, cells, fronts, args }: FleetOptions): Promise<Fleet> {
    const fleet = new Fleet(await Deno.makeTempDir(), nats ? await NatsServer.start() : null, args);
    try {
      for (const id of cells) fleet.startCell(id);
      for (let i = 0; i < fronts; i++) fleet.#startFront(i);
      fleet.urls.push(...await Promise.all(fleet.fronts.map((front) => front.url())));
      await fleet.settled();
      return fleet;
    } catch (error) {
      await fleet[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Arguments by which a cell would have an id. */
  argumentsOf(id: string): string[] {
    return ["serve", "--device", "wasm", "--port", "0", "--registry", this.registry, "--cell-id", id, ...this.#args];
  }

  startCell(id: string): void {
    this.cells.set(id, new Running(this.argumentsOf(id)));
  }

  #startFront(index: number): void {
    this.fronts[index] = new Running(["front", "--registry", this.registry, "--port", "0"]);
  }

  /** Another front in place of one that has ended. */
  async replaceFront(index: number): Promise<void> {
    this.#startFront(index);
    this.urls[index] = await this.fronts[index].url();
  }

  /** What a front knows. */
  async cellsOf(url: string): Promise<readonly KnownCell[]> {
    return (await (await fetch(`${url}/cluster`)).json()).cells;
  }

  /** Waits until all fronts know the cells that run, as ready and equal, and no others. */
  async settled(): Promise<void> {
    const own = (await Promise.all([...this.cells.values()].map((cell) => cell.url()))).toSorted();
    await until(async () => {
      for (const url of this.urls) {
        const ready = (await this.cellsOf(url)).filter(({ state, fingerprint }) => state === "ready" && fingerprint !== null);
        if (ready.map(({ url }) => url).toSorted().join() !== own.join()) return false;
        if (new Set(ready.map(({ fingerprint }) => fingerprint)).size !== 1) return false;
      }
      return true;
    });
  }

  /** Tells one cell after the other to end, each as soon as there are two others, and starts it again. @throws {Error} if one does not end well */
  async roll(): Promise<void> {
    for (const id of [...this.cells.keys()]) {
      const cell = this.cells.get(id)!;
      const code = await cell.end("SIGTERM");
      if (code !== 0) throw new Error(`cell "${id}" ended with ${code}: ${cell.log}`);
      this.startCell(id);
      // One at least must be there when the next one goes, besides that.
      const ready = async (url: string) => (await this.cellsOf(url)).filter(({ state }) => state === "ready").length > 1;
      await until(async () => (await Promise.all(this.urls.map(ready))).every((one) => one));
    }
  }

  /** Waits until every cell that fronts know has told them something new. */
  async beaten(): Promise<void> {
    for (const url of this.urls) {
      const before = await this.cellsOf(url);
      await until(async () => {
        const now = await this.cellsOf(url);
        return before.every(({ id, beat }) => now.some((cell) => cell.id === id && cell.beat > beat));
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.fronts, ...this.cells.values()].map((running) => running.end()));
    await this.nats?.[Symbol.asyncDispose]();
    await Deno.remove(this.#directory, { recursive: true });
  }
}
