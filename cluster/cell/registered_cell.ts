/**
 * This server's place in a registry: it says there what it serves, whether it takes requests, and how much it has to do.
 *
 * @module
 */
import manifest from "../../deno.json" with { type: "json" };
import { messageOf } from "../../core/errors.ts";
import { MOST_SPILLED } from "../../core/registry/cell_record.ts";
import { type CellArithmetic, fingerprintOf } from "../../core/registry/fingerprint.ts";
import type { CellRegistry, Registration } from "../../core/registry/registry.ts";
import type { CellIdentity } from "../http/relay/relayed_request.ts";
import { log } from "../logs/log.ts";

/** What a server that has loaded its model tells of it. */
export interface ServedCell {
  readonly model: { readonly id: string; readonly created: number; readonly engine: { readonly maxContext: number; readonly ready: boolean } };
  /** Sequences that have not ended, and those of them that are decoding. */
  readonly scheduling: { readonly active: number; readonly running: number };
  arithmetic(): Promise<CellArithmetic>;
}

/** Options of {@link RegisteredCell.register}. */
export interface RegisteredCellOptions {
  /** Where fronts reach it. */
  readonly url: string;
  /** Default: made of the address. */
  readonly id?: string;
  /** What the model is called until it is loaded. */
  readonly model: string;
}

/** A registered server. */
export class RegisteredCell implements AsyncDisposable {
  readonly #options: RegisteredCellOptions;
  /** The latest last. */
  readonly #spilled = new Set<string>();
  #registration: Registration | null = null;
  #served: ServedCell | null = null;
  #draining = false;
  #identity: CellIdentity = { weights: null, fingerprint: null };

  private constructor(options: RegisteredCellOptions) {
    this.#options = options;
  }

  /** Says that it is there, and loading. @throws {LatentmeshError} as {@link CellRegistry.register} does */
  static async register(registry: CellRegistry, options: RegisteredCellOptions): Promise<RegisteredCell> {
    const cell = new RegisteredCell(options);
    const lost = (problem: string) => log("error", `this server is registered no longer, and gets no more requests of fronts: ${problem}`);
    cell.#registration = await registry.register(() => cell.#facts(), lost);
    log("info", `cell    registered as "${cell.#id}" at ${registry.name}, for fronts to reach at ${options.url}`);
    return cell;
  }

  /** The model is loaded: requests may come. Whether others are its equals turns out later, when all of its files have been read. */
  serves(served: ServedCell): void {
    this.#served = served;
    this.#registration!.refresh();
    void this.#identify(served);
  }

  /** What the tokens that it draws depend on, as far as that is known. */
  get identity(): CellIdentity {
    return this.#identity;
  }

  /** A prefix is here though it is another cell's by rendezvous. */
  spilled(key: string): void {
    this.#spilled.delete(key);
    this.#spilled.add(key);
    if (this.#spilled.size > MOST_SPILLED) this.#spilled.delete(this.#spilled.values().next().value!);
  }

  /** Requests are to go elsewhere. */
  drain(): void {
    this.#draining = true;
    this.#registration!.refresh();
  }

  /** Takes the record away. */
  async close(): Promise<void> {
    await this.#registration!.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #id(): string {
    return this.#options.id ?? this.#options.url.replace(/^https?:\/\//, "").replace(/[^A-Za-z0-9.-]+/g, "-").replace(/^[^A-Za-z0-9]+|-+$/g, "");
  }

  #facts() {
    const { model, scheduling: { active, running } = { active: 0, running: 0 } } = this.#served ?? {};
    // What is cancelled in the middle of a step is in it to its end, though it is active no longer.
    const decoding = Math.min(active, running);
    return {
      id: this.#id,
      url: this.#options.url,
      version: manifest.version,
      model: model?.id ?? this.#options.model,
      created: model?.created ?? 0,
      maxContext: model?.engine.maxContext ?? 0,
      ...this.#identity,
      state: this.#draining ? "draining" as const : model?.engine.ready === true ? "ready" as const : "loading" as const,
      load: { running: decoding, waiting: active - decoding },
      spilled: [...this.#spilled].reverse(),
    };
  }

  async #identify(served: ServedCell): Promise<void> {
    try {
      const arithmetic = await served.arithmetic();
      this.#identity = { weights: arithmetic.weights, fingerprint: await fingerprintOf(arithmetic) };
      this.#registration!.refresh();
    } catch (error) {
      if (!this.#draining) log("warn", `cannot tell which cells compute as this one does, so no other goes on for it: ${messageOf(error)}`);
    }
  }
}
