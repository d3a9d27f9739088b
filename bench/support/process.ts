/**
 * The command line as users start it: a child process.
 *
 * @module
 */
import manifest from "../../deno.json" with { type: "json" };
import { ROOT } from "./root.ts";

/** Runs a task's command to its end. */
export function runCli(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return runCliWith({}, ...args);
}

/** The same with more environment. */
export async function runCliWith(env: Record<string, string>, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const output = await taskCommand(args, env).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}

/** A serving child. */
export interface ServedProcess {
  readonly url: string;
  /** Sends SIGTERM and waits. */
  stop(): Promise<{ code: number; log: string }>;
}

/** Starts `serve` on a free port and waits until it is ready. */
export function startServer(...args: string[]): Promise<ServedProcess> {
  return startServerWith({}, ...args);
}

/** The same with more environment. */
export async function startServerWith(env: Record<string, string>, ...args: string[]): Promise<ServedProcess> {
  const child = taskCommand(["serve", "--port", "0", "--device", "wasm", ...args], env).spawn();
  let log = "";
  let onLine = () => {};
  const reading = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      log += text;
      onLine();
    }
  })();
  const ready = new Promise<string>((resolve) => {
    onLine = () => {
      const url = /ready\s+(http:[^\s"]+)/.exec(log)?.[1];
      if (url !== undefined) resolve(url);
    };
  });
  const url = await Promise.race([ready, child.status.then(({ code }) => Promise.reject(new Error(`serve exited with ${code}: ${log}`)))]);
  return {
    url,
    async stop() {
      child.kill("SIGTERM");
      const [{ code }] = await Promise.all([child.status, child.stdout.cancel(), reading]);
      if (log.includes("nobody took care of")) throw new Error(`the server's last resort was needed:\n${log}`);
      return { code, log };
    },
  };
}

/** Where this Deno keeps packages: processes whose cache is elsewhere would download them again. */
const { denoDir } = JSON.parse(new TextDecoder().decode(new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).outputSync().stdout));

/** What every process of the command line is given. */
export const TASK_ENV: Readonly<Record<string, string>> = { NO_COLOR: "1", DENO_DIR: denoDir };

/** A task. */
export function taskCommand(args: readonly string[], env: Record<string, string> = {}): Deno.Command {
  return new Deno.Command(Deno.execPath(), { args: taskArguments(args), stdout: "piped", stderr: "piped", env: { ...TASK_ENV, ...env } });
}

/** Arguments of Deno for a task as it is written in deno.json, with exactly its permissions. A name that is no task goes to the program itself. */
export function taskArguments([name, ...rest]: readonly string[]): string[] {
  const task = manifest.tasks[name as keyof typeof manifest.tasks]?.command ?? `${manifest.tasks.score.command.replace(/score$/, name)}`;
  const [, ...own] = task.split(" ");
  return [
    own[0],
    "--quiet",
    "--config",
    `${ROOT}/deno.json`,
    ...own.slice(1).map((arg) => arg === "cluster/main.ts" ? `${ROOT}/${arg}` : arg),
    ...rest,
  ];
}
