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
  /** Told of every request that has ended. */
  onOutcome: ((outcome: RequestOutcome) => void) | null;
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

  private constructor(loaded: LoadedServer, text: TextWork) {
    this.loaded = loaded;
    this.#text = text;
  }

  /** @throws {LatentmeshError} `invalid_checkpoint` if its tokenizer or template cannot be used; then it is for the caller to close `text` */
  static async open(engine: HttpEngine, { id, metrics, text }: OpenModelOptions): Promise<OpenModel> {
    const served = { ...engine.served, id: id ?? engine.served.id };
    await text.open(textModelSource(served));
    const before = engine.onOutcome;
    engine.onOutcome = (outcome) => {
      before?.(outcome);
      metrics.phases(outcome);
    };
    const model = { ...served, engine: new ObservedEngine(served.engine, metrics) };
    return new OpenModel({ model, grammars: createGrammars(model), text, describe: () => engine.describe() }, text);
  }

  /** Ends what prepares requests; whoever computes goes on. */
  async close(): Promise<void> {
    await this.#text.close();
    this.loaded.grammars[Symbol.dispose]();
  }
}
