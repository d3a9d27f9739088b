/**
 * Turns requests into tokens, in processes beside this one: whatever a body, a template or a tokenizer's expressions make them do, nothing else waits for it.
 *
 * @module
 */
import { cancellation, LatentmeshError } from "../../core/errors.ts";
import { guardianSettled } from "../processes/guardian.ts";
import { HttpError } from "../api/errors.ts";
import { log } from "../logs/log.ts";
import { JobQueue } from "./job_queue.ts";
import type { TextJobKind, TextJobs, ToTextProcess } from "./jobs.ts";
import type { TextModelSource } from "./text_model.ts";
import { type SpawnText, TextProcess, TextProcessLost } from "./text_process.ts";

/** Options of {@link TextWork}. */
export interface TextWorkOptions {
  readonly spawn: SpawnText;
  /** Processes; more than one, so that a client which keeps one busy is alone with that. */
  readonly processes?: number;
  /** Milliseconds that a job may take. */
  readonly jobTimeout?: number;
  /** Milliseconds that reading tokenizer and template may take. */
  readonly loadTimeout?: number;
}

/** Whose job it is, and what ends the wait for it. */
export interface TextJobOptions {
  readonly client: string;
  readonly signal?: AbortSignal;
}

/** Text processes of a server. */
export interface TextService {
  /** @throws {HttpError} if the request cannot be used @throws {LatentmeshError} `cancelled` */
  run<K extends TextJobKind>(kind: K, input: TextJobs[K]["input"], options: TextJobOptions): Promise<TextJobs[K]["output"]>;
}

interface Job {
  readonly message: ToTextProcess;
  readonly client: string;
  readonly result: PromiseWithResolvers<unknown>;
}

const PROCESSES = 2;
const JOB_TIMEOUT = 15_000;
const LOAD_TIMEOUT = 60_000;
/** Processes in a row that may fail to start. */
const MOST_FAILURES = 3;

/** Processes that take turns. */
export class TextWork implements TextService {
  readonly #options: Required<TextWorkOptions>;
  readonly #queue: JobQueue<Job>;
  readonly #idle: TextProcess[] = [];
  readonly #all = new Set<TextProcess>();
  readonly #model = Promise.withResolvers<TextModelSource>();
  readonly #starting = new Set<Promise<void>>();
  readonly #ready = Promise.withResolvers<void>();
  #failures = 0;
  #failure: LatentmeshError | null = null;
  #closed = false;

  /** Starts a process; the others follow when it is ready. */
  constructor(options: TextWorkOptions) {
    this.#options = { processes: PROCESSES, jobTimeout: JOB_TIMEOUT, loadTimeout: LOAD_TIMEOUT, ...options };
    this.#queue = new JobQueue(Math.max(1, this.#options.processes - 1));
    this.#model.promise.catch(() => {});
    this.#ready.promise.catch(() => {});
    this.#start();
  }

  /** Processes for a model, of which one is ready. @throws {LatentmeshError} see {@link open} */
  static async start(model: TextModelSource, options: TextWorkOptions): Promise<TextWork> {
    const work = new TextWork(options);
    try {
      await work.open(model);
      return work;
    } catch (error) {
      await work.close();
      throw error;
    }
  }

  /** Gives processes what they serve, and waits until one is ready. @throws {LatentmeshError} `invalid_checkpoint` if tokenizer or template cannot be used */
  async open(model: TextModelSource): Promise<void> {
    this.#model.resolve(model);
    await this.#ready.promise;
  }

  async run<K extends TextJobKind>(kind: K, input: TextJobs[K]["input"], { client, signal }: TextJobOptions): Promise<TextJobs[K]["output"]> {
    if (this.#failure !== null) throw this.#failure;
    if (this.#closed || signal?.aborted) throw cancellation(signal);
    const job: Job = { message: { kind, input } as ToTextProcess, client, result: Promise.withResolvers() };
    const cancel = () => {
      // What has begun goes on to its end, which is near.
      this.#queue.remove(client, job);
      job.result.reject(cancellation(signal));
    };
    signal?.addEventListener("abort", cancel, { once: true });
    this.#queue.add(client, job);
    this.#dispatch();
    try {
      return await job.result.promise as TextJobs[K]["output"];
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** Process ids, for tests. */
  get pids(): number[] {
    return [...this.#all].map(({ pid }) => pid);
  }

  /** Ends all processes; what waits or runs is cancelled. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#fail(new LatentmeshError("capacity", "The server is stopping"));
    await Promise.all([...this.#all].map((process) => process.kill()));
    await Promise.all(this.#starting);
    await guardianSettled();
  }

  #dispatch(): void {
    while (this.#idle.length > 0) {
      const next = this.#queue.next();
      if (next === null) return;
      void this.#work(this.#idle.pop()!, next.job);
    }
  }

  async #work(process: TextProcess, job: Job): Promise<void> {
    const { jobTimeout } = this.#options;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      void process.kill();
    }, jobTimeout);
    try {
      job.result.resolve(await process.ask(job.message));
    } catch (error) {
      job.result.reject(error instanceof TextProcessLost ? this.#failure ?? lostError(late, jobTimeout) : error);
    } finally {
      clearTimeout(timer);
      this.#queue.done(job.client);
      // A job that was just in time may have been ended with its process.
      if (this.#all.has(process) && !late) this.#idle.push(process);
      this.#dispatch();
    }
  }

  #start(): void {
    if (this.#closed) return;
    const started: Promise<void> = this.#startOne().finally(() => this.#starting.delete(started));
    this.#starting.add(started);
  }

  async #startOne(): Promise<void> {
    let process: TextProcess;
    try {
      process = new TextProcess(this.#options.spawn);
    } catch (error) {
      return this.#startFailed(error);
    }
    this.#all.add(process);
    void process.ended.then(() => this.#gone(process));
    // Its modules are loaded while the model is.
    const model = await Promise.race([this.#model.promise, process.ended]).catch(() => {});
    const timer = setTimeout(() => void process.kill("it took too long to read the tokenizer"), this.#options.loadTimeout);
    try {
      if (model === undefined) throw new TextProcessLost("it ended");
      await process.ask({ kind: "model", model });
    } catch (error) {
      clearTimeout(timer);
      await process.kill();
      return this.#startFailed(error);
    }
    clearTimeout(timer);
    this.#failures = 0;
    this.#idle.push(process);
    this.#ready.resolve();
    this.#dispatch();
    if (this.#all.size < this.#options.processes) this.#start();
  }

  #startFailed(error: unknown): void {
    if (this.#closed) return;
    const problem = error instanceof Error ? error.message : String(error);
    // What its own tokenizer or template cannot be made of will not get better.
    if (error instanceof HttpError || ++this.#failures >= MOST_FAILURES) {
      return this.#fail(new LatentmeshError("invalid_checkpoint", `Cannot prepare requests for this model: ${problem}`));
    }
    log("warn", `text    a process that prepares requests could not be started: ${problem}`);
    this.#start();
  }

  #fail(error: LatentmeshError): void {
    this.#failure = error;
    this.#model.reject(error);
    this.#ready.reject(error);
    for (const { result } of this.#queue.takeAll()) result.reject(error);
  }

  #gone(process: TextProcess): void {
    this.#all.delete(process);
    const at = this.#idle.indexOf(process);
    if (at >= 0) this.#idle.splice(at, 1);
    // One that never became ready is counted by whoever waited for it.
    if (this.#closed || this.#failure !== null || this.#starting.size > 0) return;
    this.#start();
  }
}

/** The request is to blame: asking again would end in the same. */
function lostError(late: boolean, jobTimeout: number): HttpError {
  const problem = late ? `takes longer than ${jobTimeout / 1000} s` : "takes more memory than it may";
  return new HttpError(400, `Preparing this request ${problem}; shorten it`, { code: "request_too_large" });
}
