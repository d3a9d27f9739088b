/**
 * The near side of a thread that holds the sockets over which a rank sums, for one epoch of its unit.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import { SumMailbox } from "./sum_mailbox.ts";
import type { FromSumThread, SumThreadOptions, ToSumThread } from "./thread_messages.ts";

/** A thread of sums. */
export class SumThread {
  /** Parts go and come here. */
  readonly mailbox: SumMailbox;
  /** Resolves with the reason when there are no sums any more; never, if it is ended before. */
  readonly failed: Promise<LatentmeshError>;
  readonly #failed = Promise.withResolvers<LatentmeshError>();
  readonly #onBroken: (worker: string, reason: LatentmeshError) => void;
  readonly #worker: Worker;
  readonly #listening = Promise.withResolvers<string>();
  readonly #linked = Promise.withResolvers<void>();
  #ended = false;

  private constructor(options: SumThreadOptions, onBroken: (worker: string, reason: LatentmeshError) => void) {
    this.mailbox = new SumMailbox(options.shape);
    this.failed = this.#failed.promise;
    this.#onBroken = onBroken;
    // Whoever waits for neither is told by `failed`.
    this.#listening.promise.catch(() => {});
    this.#linked.promise.catch(() => {});
    this.#worker = new Worker(new URL("./thread.ts", import.meta.url), { type: "module", name: "sums" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromSumThread>) => this.#hear(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new LatentmeshError("internal", `The thread of sums has ended: ${event.message}`));
    };
    this.#tell({ kind: "open", options, memory: this.mailbox.memory });
  }

  /**
   * Starts a thread, which listens for the ranks above this one.
   *
   * @param onBroken told of links that ended because somebody broke protocol
   * @returns the thread, and where it listens
   * @throws {LatentmeshError} if it cannot be started or cannot listen
   */
  static async open(options: SumThreadOptions, onBroken: (worker: string, reason: LatentmeshError) => void): Promise<[SumThread, string]> {
    const thread = new SumThread(options, onBroken);
    try {
      return [thread, await thread.#listening.promise];
    } catch (error) {
      thread.end();
      throw error;
    }
  }

  /** Links to the threads of all lower ranks and waits for those of the higher ones. @throws {WorkerError} naming one that does not come */
  async link(lower: readonly string[]): Promise<void> {
    this.#tell({ kind: "link", lower });
    await this.#linked.promise;
  }

  /** Ends it, and all its links with it. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#worker.terminate();
    const reason = new LatentmeshError("worker_lost", "The thread of sums has ended");
    this.#listening.reject(reason);
    this.#linked.reject(reason);
  }

  #tell(message: ToSumThread): void {
    this.#worker.postMessage(message);
  }

  #hear(message: FromSumThread): void {
    if (this.#ended) return;
    switch (message.kind) {
      case "listening":
        return this.#listening.resolve(message.address);
      case "linked":
        return this.#linked.resolve();
      case "broken":
        return this.#onBroken(message.worker, new LatentmeshError("protocol", message.message));
      case "failed":
        return this.#fail(new WorkerError(message.failure.code, message.failure.message, message.failure.silent));
      default:
        return message satisfies never;
    }
  }

  #fail(reason: LatentmeshError): void {
    this.#listening.reject(reason);
    this.#linked.reject(reason);
    this.#failed.resolve(reason);
  }
}
