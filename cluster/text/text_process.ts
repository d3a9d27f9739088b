/**
 * The near side of a text process. Threads would do but for one thing: nothing ends one that is in a loop, neither Deno's `terminate()` nor an empty heap, which
 * takes the whole process with it. A process ends when it is told to, and its memory has a limit of its own.
 *
 * @module
 */
import { HttpError } from "../api/errors.ts";
import { FrameReader, writeFrame } from "./frames.ts";
import type { FromTextProcess, ToTextProcess } from "./jobs.ts";

/** Starts the program of text processes. */
export type SpawnText = () => Deno.ChildProcess;

/** A process that has ended, or has been, with a job undone. */
export class TextProcessLost extends Error {}

/** Characters kept of what a process wrote to standard error. */
const LAST_WORDS = 500;

/** One process: asked one thing at a time. */
export class TextProcess {
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #output: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;
  readonly #frames: FrameReader;
  #lastWords = "";
  #reason = "it ended";

  constructor(spawn: SpawnText) {
    const child = spawn();
    this.#child = child;
    this.#input = child.stdin.getWriter();
    this.#output = child.stdout.getReader();
    this.#frames = new FrameReader(async () => (await this.#output.read()).value ?? null);
    this.ended = Promise.all([child.status, this.#listen()]).then(() => {});
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Asks. @throws {TextProcessLost} if it ends instead of answering @throws {HttpError} what it refuses */
  async ask(message: ToTextProcess): Promise<unknown> {
    let answer: FromTextProcess | undefined;
    try {
      await writeFrame(this.#input, message);
      answer = await this.#frames.next() as FromTextProcess | undefined;
    } catch {
      // The pipe is broken: the process has ended, or is of no use any more.
    }
    if (answer === undefined) {
      await this.kill(this.#reason);
      throw new TextProcessLost(this.#lastWords === "" ? this.#reason : this.#lastWords);
    }
    if (answer.kind === "failed") throw HttpError.from(answer.error);
    return answer.kind === "done" ? answer.output : null;
  }

  /** Ends it. */
  async kill(reason = "it was ended"): Promise<void> {
    this.#reason = reason;
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.#input.abort().catch(() => {});
    await this.#output.cancel().catch(() => {});
    await this.ended;
  }

  async #listen(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) this.#lastWords = (this.#lastWords + text).slice(-LAST_WORDS);
  }
}
