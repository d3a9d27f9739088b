/**
 * Processes of the command line that tests and benches kill or tell to end.
 *
 * @module
 */
import { taskCommand } from "./process.ts";
import { until } from "./until.ts";

/** One that runs until it is ended. */
export class Running implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  log = "";
  readonly #reading: Promise<void>;

  constructor(args: readonly string[], env: Record<string, string> = {}) {
    const child = this.child = taskCommand(args, env).spawn();
    this.#reading = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) this.log += text;
    })();
  }

  /** Where it listens, once it says so. @throws {Error} with all that it has said if it ends before */
  async url(): Promise<string> {
    let code: number | null = null;
    void Promise.all([this.child.status, this.#reading]).then(([status]) => code = status.code);
    const url = () => /ready +(http:\S+)/.exec(this.log)?.[1];
    await until(() => code !== null || url() !== undefined);
    const known = url();
    if (known === undefined) throw new Error(`it ended with ${code}: ${this.log}`);
    return known;
  }

  /** @returns its exit code */
  async end(signal: Deno.Signal = "SIGKILL"): Promise<number> {
    try {
      this.child.kill(signal);
    } catch {
      // It has ended.
    }
    const [{ code }] = await Promise.all([this.child.status, this.child.stdout.cancel(), this.#reading]);
    return code;
  }

  /** Kills it, unless it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}
