/**
 * What the README shows is run as it is printed: in order, commands in the clone, programs in a directory of their own with the package installed. Only the port is
 * another, and `npx -y deno@…` is the Deno that runs the tests. What needs a model or another machine says so in the README's source, and is listed.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parse } from "yaml";
import manifest from "../../deno.json" with { type: "json" };
import { checkConfig } from "../../cluster/config/config.ts";
import { type Snippet, snippetsOf } from "../support/docs/snippets.ts";
import { ROOT } from "../../bench/support/root.ts";
import { TASK_ENV } from "../../bench/support/process.ts";

const PRINTED_PORT = "8080";

describe("README.md", () => {
  it("shows commands and programs that work as printed", async () => {
    await using reader = await Reader.create();
    const snippets = snippetsOf(await Deno.readTextFile(`${ROOT}/README.md`));
    for (const snippet of snippets) await reader.take(snippet);
    console.log(`not run: ${reader.skipped.map(({ what, why }) => `${what} (${why})`).join("; ")}`);
    assert(reader.skipped.every(({ why }) => why.length > 5));
    // Nothing was overlooked.
    assertEquals(reader.ran, ["task serve", "curl", "js", "ts", "run main.ts", "yaml", "task plan", "task serve"]);
  });
});

/** Somebody who does what is written. */
class Reader implements AsyncDisposable {
  readonly ran: string[] = [];
  readonly skipped: { what: string; why: string }[] = [];
  readonly #directory: string;
  readonly #port: string;
  #server: { readonly child: Deno.ChildProcess; readonly reading: Promise<void> } | null = null;

  private constructor(directory: string, port: string) {
    this.#directory = directory;
    this.#port = port;
  }

  static async create(): Promise<Reader> {
    const directory = await Deno.makeTempDir();
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const port = String((listener.addr as Deno.NetAddr).port);
    await Deno.mkdir(`${directory}/bin`);
    const deno = `case "$1 $2" in "task serve") exec "${Deno.execPath()}" "$@" --port ${port};; esac\nexec "${Deno.execPath()}" "$@"`;
    const npx = `test "$1" = -y && shift 2 && exec deno "$@"`;
    for (const [name, script] of Object.entries({ deno, npx })) {
      await Deno.writeTextFile(`${directory}/bin/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    }
    // What `deno add` would write, of a package that is not in a registry yet. Clients of the tests stand for what a reader has installed.
    const imports = { ...manifest.imports, openai: "npm:openai@6.49.0", "@latentmesh/latentmesh": `file://${ROOT}/mod.ts` };
    await Deno.writeTextFile(`${directory}/deno.json`, JSON.stringify({ imports, nodeModulesDir: "none", unstable: manifest.unstable, lock: false }));
    return new Reader(directory, port);
  }

  async take({ language, code, file, skipped, commands }: Snippet): Promise<void> {
    if (file !== null) await Deno.writeTextFile(`${this.#directory}/${file}`, code);
    for (const command of commands) {
      if (command.skipped !== null) this.skipped.push({ what: command.text, why: command.skipped });
      else await this.#run(command.text);
    }
    if (language === "sh") return;
    if (skipped !== null) return void this.skipped.push({ what: language, why: skipped });
    this.ran.push(language);
    if (language === "yaml") checkConfig(parse(code), "the README");
    // A program that is a file is run by the command that follows.
    if (language === "js") {
      await Deno.writeTextFile(`${this.#directory}/snippet.js`, this.#here(code));
      const printed = await this.#output("deno run -A snippet.js", this.#directory);
      assert(printed.trim().length > 10, `the client was told: ${printed}`);
    }
  }

  async #run(command: string): Promise<void> {
    const [, name] = /(task \w+|curl|run \S+$)/.exec(command.replace(/--\S+ /g, ""))!;
    this.ran.push(name);
    // Files that the README has shown lie in a directory of their own, and not in the clone.
    const here = this.#here(command).replace(/\bcluster\.yaml\b/, `${this.#directory}/cluster.yaml`);
    if (name === "task serve") return await this.#serve(here);
    const printed = await this.#output(here, name.startsWith("run ") ? this.#directory : ROOT);
    if (name === "curl") assert(JSON.parse(printed).choices[0].message.content.length > 0, printed);
    if (name === "task plan") assertStringIncludes(printed, "prefill-0.0");
    if (name.startsWith("run ")) assert(printed.length > 20, printed);
  }

  async #serve(command: string): Promise<void> {
    await this.#stop();
    const child = this.#command(`exec ${command}`, ROOT).spawn();
    let log = "";
    const ready = Promise.withResolvers<void>();
    const reading = child.stderr.pipeThrough(new TextDecoderStream()).pipeTo(
      new WritableStream({
        write(text) {
          log += text;
          if (/ready\s+http:/.test(log)) ready.resolve();
        },
      }),
    );
    this.#server = { child, reading };
    await Promise.race([ready.promise, child.status.then(({ code }) => Promise.reject(new Error(`${command} ended with ${code}: ${log}`)))]);
    const models = await (await fetch(`http://127.0.0.1:${this.#port}/v1/models`)).json();
    assertEquals(models.data[0].id, command.includes("cluster.yaml") ? "tiny" : "tiny-mla");
  }

  async #output(command: string, cwd: string): Promise<string> {
    const { success, stdout, stderr } = await this.#command(command, cwd).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assert(success, `${command}\n${text(stderr)}`);
    return text(stdout);
  }

  #command(command: string, cwd: string): Deno.Command {
    const env = { ...TASK_ENV, PATH: `${this.#directory}/bin:${Deno.env.get("PATH")}`, LATENTMESH_DEVICE: "wasm" };
    return new Deno.Command("sh", { args: ["-c", command], cwd, env, stdin: "null", stdout: "piped", stderr: "piped" });
  }

  #here(text: string): string {
    return text.replaceAll(PRINTED_PORT, this.#port);
  }

  async #stop(): Promise<void> {
    if (this.#server === null) return;
    const { child, reading } = this.#server;
    this.#server = null;
    child.kill("SIGTERM");
    await Promise.all([child.status, child.stdout.cancel(), reading]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
    await Deno.remove(this.#directory, { recursive: true });
  }
}
