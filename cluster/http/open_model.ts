/**
 * A loaded model as the HTTP API has it: observed, with the processes that prepare its requests and the grammars of its answers.
 *
 * @module
 */
import type { ServedModel } from "../../core/engine.ts";
import type { ClusterStatus } from "../observe/cluster_status.ts";
import type { ServerMetrics } from "../observe/metrics.ts";
import { ObservedEngine } from "../observe/observed_engine.ts";
import type { RequestOutcome } from "../serving/running_request.ts";
import { textModelSource } from "../text/text_model.ts";
import type { TextWork } from "../text/text_work.ts";
import { createGrammars } from "../text/model_grammars.ts";
import type { LoadedServer } from "./app.ts";

/** What is asked of whoever computes. */
export interface HttpEngine {
  readonly served: ServedModel;
  /** Has a listener told of every request that has ended, once. @returns what ends that */
  onOutcome(listener: (outcome: RequestOutcome) => void): () => void;
  describe(): Promise<ClusterStatus>;
}

/** How it is opened. */
export interface OpenModelOptions {
  /** Name in the API; default: the model's own. */
  readonly id?: string;
  readonly metrics: ServerMetrics;
  /** Processes that prepare requests, for which nothing has been opened yet. They are closed with the model. */
  readonly text: TextWork;
}

/** A model that requests can be made to. */
export class OpenModel {
  readonly loaded: LoadedServer;
  readonly #text: TextWork;
  readonly #unlisten: () => void;

  private constructor(loaded: LoadedServer, text: TextWork, unlisten: () => void) {
    this.loaded = loaded;
    this.#text = text;
    this.#unlisten = unlisten;
  }

  /** @throws {LatentmeshError} `invalid_checkpoint` if its tokenizer or template cannot be used; then it is for the caller to close `text` */
  static async open(engine: HttpEngine, { id, metrics, text }: OpenModelOptions): Promise<OpenModel> {
    const served = { ...engine.served, id: id ?? engine.served.id };
    await text.open(textModelSource(served));
    const model = { ...served, engine: new ObservedEngine(served.engine, metrics) };
    const grammars = createGrammars(model);
    const unlisten = engine.onOutcome((outcome) => metrics.phases(outcome));
    return new OpenModel({ model, grammars, text, describe: () => engine.describe() }, text, unlisten);
  }

  /** Ends what prepares requests; whoever computes goes on. */
  async close(): Promise<void> {
    this.#unlisten();
    try {
      await this.#text.close();
    } finally {
      this.loaded.grammars[Symbol.dispose]();
    }
  }
}
