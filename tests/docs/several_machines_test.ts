/**
 * The example of several machines in docs/operations.md, as printed: two hosts are two network namespaces with a cable between them, and nothing but it. What a reader
 * fills in (token, model) is filled in, and GPUs are processors (`--device wasm`), of which each host gives as many workers as the file lists GPUs.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { checkConfig } from "../../cluster/config/config.ts";
import { TASK_ENV, taskArguments } from "../../bench/support/process.ts";
import { until } from "../../bench/support/until.ts";
import { snippetsOf } from "../support/docs/snippets.ts";
import { ROOT } from "../../bench/support/root.ts";

/** What a command may take to start, in milliseconds, on a busy machine. */
const PATIENCE_MS = 120_000;

const HOSTS = { a: "10.0.0.1", b: "10.0.0.2" };

/** Why there can be no two hosts here; null: there can. */
function absence(): string | null {
  if (Deno.build.os !== "linux") return "network namespaces are Linux's";
  if (Deno.uid() !== 0) return "only root makes network namespaces";
  try {
    const { success } = new Deno.Command("unshare", { args: ["--net", "sh", "-c", "ip link add x type veth && command -v nsenter"] }).outputSync();
    return success ? null : "this system lets nobody make network namespaces with links";
  } catch {
    return "there is no unshare";
  }
}

/** Two hosts with a cable between them, until it is disposed of. */
class TwoHosts implements AsyncDisposable {
  readonly #namespaces: readonly Deno.ChildProcess[];

  private constructor(namespaces: readonly Deno.ChildProcess[]) {
    this.#namespaces = namespaces;
  }

  static async connect(): Promise<TwoHosts> {
    // They last as long as these processes, whatever becomes of this one after a while.
    const hosts = new TwoHosts([1, 2].map(() => new Deno.Command("unshare", { args: ["--net", "sleep", "300"] }).spawn()));
    try {
      await hosts.#join();
      return hosts;
    } catch (error) {
      await hosts[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A command of Deno's on a host. */
  command(host: "a" | "b", args: readonly string[], cwd: string, env: Record<string, string>): Deno.Command {
    const { pid } = this.#namespaces[host === "a" ? 0 : 1];
    return new Deno.Command("nsenter", {
      args: ["--target", String(pid), "--net", Deno.execPath(), ...args],
      cwd,
      env: { ...TASK_ENV, ...env },
      stdout: "piped",
      stderr: "piped",
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const process of this.#namespaces) process.kill("SIGKILL");
    await Promise.all(this.#namespaces.map(({ status }) => status));
  }

  async #join(): Promise<void> {
    for (const { pid } of this.#namespaces) {
      // It is this host's until the process has left.
      await until(async () => await Deno.readLink(`/proc/${pid}/ns/net`) !== await Deno.readLink("/proc/self/ns/net"));
    }
    const [a, b] = this.#namespaces;
    await this.#ip(a, `link add cable type veth peer name cable netns ${b.pid}`);
    for (const [host, address] of [[a, HOSTS.a], [b, HOSTS.b]] as const) {
      await this.#ip(host, `addr add ${address}/24 dev cable`);
      for (const link of ["lo", "cable"]) await this.#ip(host, `link set ${link} up`);
    }
  }

  async #ip({ pid }: Deno.ChildProcess, command: string): Promise<void> {
    const args = ["--target", String(pid), "--net", "ip", ...command.split(" ")];
    const { success, stderr } = await new Deno.Command("nsenter", { args }).output();
    assert(success, `ip ${command}: ${new TextDecoder().decode(stderr)}`);
  }
}

/** A process whose log is read. */
class Logged implements AsyncDisposable {
  log = "";
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #heard = Promise.withResolvers<void>();

  constructor(command: Deno.Command) {
    this.#child = command.spawn();
    this.#reading = this.#read();
  }

  /** Resolves when the log says something. @throws {Error} with the log, if the process ends before, or says nothing for long */
  async says(what: RegExp): Promise<void> {
    const ended = this.#child.status.then(({ code }) => Promise.reject(new Error(`it ended with ${code} before it said ${what}:\n${this.log}`)));
    ended.catch(() => {});
    const late = Promise.withResolvers<never>();
    late.promise.catch(() => {});
    const timer = setTimeout(() => late.reject(new Error(`it does not say ${what}:\n${this.log}`)), PATIENCE_MS);
    try {
      while (!what.test(this.log)) await Promise.race([this.#heard.promise, ended, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await Promise.all([this.#child.status, this.#child.stdout.cancel(), this.#reading]);
  }

  async #read(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.log += text;
      this.#heard.resolve();
      this.#heard = Promise.withResolvers();
    }
  }
}

/** What the document says: the file, and the arguments of the command on the other machine. */
async function printed(): Promise<{ file: string; worker: string[] }> {
  const snippets = snippetsOf(await Deno.readTextFile(`${ROOT}/docs/operations.md`));
  const file = snippets.findIndex(({ language, code }) => language === "yaml" && code.includes("hosts:"));
  const [{ text }] = snippets[file + 1].commands;
  const [, args] = /deno task (worker .*)$/s.exec(text.replaceAll("\\\n", " "))!;
  return { file: snippets[file].code, worker: args.trim().split(/\s+/).map((word) => word === "NAME" ? `${ROOT}/models/tiny-mla` : word) };
}

describe("several machines in docs/operations.md", () => {
  const absent = absence();
  const test = absent === null ? it : it.skip;
  test(`serve as printed, with TLS, between two network namespaces${absent === null ? "" : `: skipped, ${absent}`}`, async () => {
    const { file, worker } = await printed();
    checkConfig(parse(file), "the document");
    const directory = await Deno.makeTempDir();
    try {
      for (const name of ["cert.pem", "key.pem", "ca.pem"]) await Deno.copyFile(`${ROOT}/tests/support/tls/hosts/${name}`, `${directory}/${name}`);
      await Deno.writeTextFile(`${directory}/cluster.yaml`, file);
      await using hosts = await TwoHosts.connect();
      const env = { LATENTMESH_TOKEN: "a token for tests only" };
      const onWasm = ["--device", "wasm", "--threads", "1"];
      await using serving = new Logged(hosts.command("a", taskArguments(["serve", "--config", "cluster.yaml", ...onWasm]), directory, env));
      await serving.says(/waiting for 2 workers of host b/);
      await using joined = new Logged(hosts.command("b", taskArguments([...worker, ...onWasm]), directory, env));
      await serving.says(/ready\s+http:\/\/127\.0\.0\.1:8080/);
      for (const unit of ["prefill-0.0", "prefill-1.0"]) await serving.says(new RegExp(`of host b has joined, as ${unit}`));
      assertEquals(joined.log.match(/joined\s+wss:\/\/10\.0\.0\.1:7000 as worker b\.\d/g)?.length, 2, joined.log);
      assert(!serving.log.includes("no worker runs on"), serving.log);
      const program = `
        const body = JSON.stringify({ prompt: "And it came to pass", max_tokens: 8, temperature: 0 });
        const answer = await (await fetch("http://127.0.0.1:8080/v1/completions", { method: "POST", body })).json();
        const { units } = await (await fetch("http://127.0.0.1:8080/cluster")).json();
        console.log(JSON.stringify({ answer, places: units.flatMap(({ name, workers }) => workers.map(({ rank, host }) => \`\${name}.\${rank} \${host}\`)) }));`;
      const { stdout, stderr } = await hosts.command("a", ["eval", program], directory, {}).output();
      const said = new TextDecoder().decode(stdout);
      assert(said !== "", new TextDecoder().decode(stderr));
      const { answer, places } = JSON.parse(said);
      assertEquals(answer.usage?.completion_tokens, 8, said);
      assertEquals(places.toSorted(), ["decode-0.0 a", "decode-0.1 a", "prefill-0.0 b", "prefill-1.0 b"]);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
});
