/**
 * What is left when a server is told to stop, or is stopped, at whatever time: nothing.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { PrivateDirectory } from "../../cluster/processes/private_directory.ts";
import { until } from "../../bench/support/until.ts";
import { ROOT } from "../../bench/support/root.ts";
import { TASK_ENV, taskArguments } from "../../bench/support/process.ts";
import { CAN_LIST_PROCESSES, descendants, runs } from "../../bench/support/processes.ts";

/** A server that is starting. */
class Starting implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly url: string;
  log = "";
  readonly #reading: Promise<void>;
  readonly #directory: string;

  private constructor(child: Deno.ChildProcess, url: string, directory: string) {
    this.child = child;
    this.url = url;
    this.#directory = directory;
    this.#reading = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) this.log += text;
    })();
  }

  /** @param launcher a command that starts it, which is given as further arguments */
  static async start(args: readonly string[], launcher: readonly string[] = []): Promise<Starting> {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    const directory = await Deno.makeTempDir();
    const [program, ...rest] = [...launcher, Deno.execPath(), ...taskArguments(["serve", "--port", String(port), "--device", "cpu", ...args])];
    const child = new Deno.Command(program, {
      args: rest,
      env: { ...TASK_ENV, XDG_CACHE_HOME: directory, TMPDIR: directory },
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    return new Starting(child, `http://127.0.0.1:${port}`, directory);
  }

  async says(text: string): Promise<void> {
    await until(() => this.log.includes(text));
  }

  /** Directories in which its processes meet. */
  directories(): string[] {
    return [...Deno.readDirSync(this.#directory)].map(({ name }) => name).filter((name) => name.startsWith("latentmesh-"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await Promise.all([this.child.status, this.child.stdout.cancel(), this.#reading]);
    await Deno.remove(this.#directory, { recursive: true });
  }
}

/** Its decode groups need a basis, which the model does not ship. */
const CALIBRATING = ["--ranks", "2", "--model", `${ROOT}/tests/golden/deepseek-v2-lite-tiny`];

describe("a server that is loading", () => {
  it("says that it lives, how far it is, and serves its page", async () => {
    await using server = await Starting.start(CALIBRATING);
    await server.says("calibrating");
    const ask = (path: string, method = "GET") => fetch(`${server.url}${path}`, { method, body: method === "GET" ? undefined : "{}" });
    assertEquals(await (await ask("/healthz")).json(), { status: "ok" });
    const ready = await ask("/readyz");
    const { status, ...progress } = await ready.json();
    assertEquals([ready.status, status, progress.loadedBytes, progress.totalBytes, progress.downloading], [503, "loading", 0, 0, false]);
    const { model, ready: isReady, loading, units } = await (await ask("/cluster")).json();
    assertEquals([model, isReady, Object.keys(loading), units], ["deepseek-v2-lite-tiny", false, Object.keys(progress), []]);
    assertStringIncludes(await (await ask("/metrics")).text(), "latentmesh_ready 0");
    assertStringIncludes(await (await ask("/")).text(), "<title>Latentmesh</title>");
    for (const [path, method] of [["/v1/models", "GET"], ["/v1/completions", "POST"], ["/tokenize", "POST"]]) {
      const response = await ask(path, method);
      assertEquals([response.status, response.headers.get("retry-after"), (await response.json()).error.code], [503, "1", "loading"]);
    }
    assertEquals((await ask("/nothing").then((response) => response.body!.cancel().then(() => response))).status, 404);
  });

  const cases: [signal: Deno.Signal, when: string, args: readonly string[], says: string][] = [
    ["SIGTERM", "while it calibrates", CALIBRATING, "calibrating"],
    ["SIGINT", "while it calibrates", CALIBRATING, "calibrating"],
    ["SIGHUP", "while it calibrates", CALIBRATING, "calibrating"],
    ["SIGTERM", "while it waits for another host", ["--config", `${ROOT}/tests/support/two_hosts.yaml`], "waiting for"],
  ];
  for (const [signal, when, args, says] of cases) {
    it(`ends at once on ${signal} ${when}`, async () => {
      await using server = await Starting.start(args);
      await server.says(says);
      const started = CAN_LIST_PROCESSES ? await descendants(server.child.pid) : [];
      server.child.kill(signal);
      await server.child.status;
      for (const pid of started) await until(async () => !await runs(pid));
      assertEquals(server.directories(), []);
    });
  }
});

describe("a server that serves", () => {
  it("takes a signal that comes twice in a moment for one, as deno task passes it on, and lets requests end", async () => {
    await using server = await Starting.start(["--single"]);
    await server.says("ready");
    const response = await fetch(`${server.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "tiny-mla", prompt: "And it came to pass", max_tokens: 60, ignore_eos: true, stream: true }),
    });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = (await reader.read()).value!;
    // A terminal sends it to all processes of a job: those that prepare requests are none of this one's.
    if (CAN_LIST_PROCESSES) {
      const preparing = (await descendants(server.child.pid)).filter((pid) => Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes("text_main.ts"));
      assert(preparing.length > 0);
      for (const pid of preparing) assert(jobOf(pid) !== jobOf(server.child.pid), "a job of its own");
    }
    server.child.kill("SIGINT");
    server.child.kill("SIGINT");
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
    assert(text.trimEnd().endsWith("data: [DONE]"), text.slice(-300));
    assertEquals((await server.child.status).code, 0);
  });

  it("says at the second signal that it is stopping, in a way that clients try again", async () => {
    await using server = await Starting.start(["--single"]);
    await server.says("ready");
    const asked = fetch(`${server.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "tiny-mla", prompt: "And it came to pass", max_tokens: 1900, ignore_eos: true }),
    });
    await until(async () => (await (await fetch(`${server.url}/cluster`)).json()).scheduling.running === 1);
    server.child.kill("SIGTERM");
    await server.says("stopping");
    await new Promise((resolve) => setTimeout(resolve, 500));
    server.child.kill("SIGTERM");
    const response = await asked;
    const { error } = await response.json();
    assertEquals([response.status, error.code], [503, "capacity"]);
    assertStringIncludes(error.message, "stopping");
    await server.child.status;
  });
});

describe("a server that is killed", () => {
  it(`leaves no process and no directory behind${CAN_LIST_PROCESSES ? "" : " (skipped: no /proc)"}`, async () => {
    if (!CAN_LIST_PROCESSES) return;
    await using server = await Starting.start([]);
    await server.says("ready");
    const started = await descendants(server.child.pid);
    assert(started.length >= 6, `workers, text processes and a guardian: ${started.length}`);
    assertEquals(server.directories().length, 1);
    // One that is stopped notices nothing, as one that computes does not.
    for (const pid of started.slice(-2)) Deno.kill(pid, "SIGSTOP");
    server.child.kill("SIGKILL");
    for (const pid of started) await until(async () => !await runs(pid));
    assertEquals(server.directories(), []);
  });

  it(`ends when npx is that started it, and npx alone is killed${CAN_LIST_PROCESSES ? "" : " (skipped: no /proc)"}`, async () => {
    if (!CAN_LIST_PROCESSES) return;
    // npx starts a shell, which starts the server; both have this variable, and npx itself has not.
    const npx = ["sh", "-c", `npm_lifecycle_event=npx sh -c '"$@"; true' sh "$@"; true`, "sh"];
    await using server = await Starting.start(["--single"], npx);
    await server.says("ready");
    const started = await descendants(server.child.pid);
    server.child.kill("SIGKILL");
    for (const pid of started) await until(async () => !await runs(pid));
    assertStringIncludes(server.log, "stopping");
  });

  it(`leaves nothing behind that watches for npx, when it has ended and npx has not${CAN_LIST_PROCESSES ? "" : " (skipped: no /proc)"}`, async () => {
    if (!CAN_LIST_PROCESSES) return;
    const npx = ["env", "npm_lifecycle_event=npx", "sh", "-c", `"$@"; exec sleep 1000`, "sh"];
    await using server = await Starting.start(["--single"], npx);
    await server.says("ready");
    const started = await descendants(server.child.pid);
    const main = started.find((pid) => Deno.readTextFileSync(`/proc/${pid}/cmdline`).startsWith(Deno.execPath()))!;
    const below = await descendants(main);
    assert(below.length >= 3, "a guardian, what watches for npx, and text processes");
    Deno.kill(main, "SIGTERM");
    for (const pid of [main, ...below]) await until(async () => !await runs(pid));
  });
});

describe("a directory in which processes meet", () => {
  it("is removed by who makes the next, if its owner is gone, and only if it is ours", async () => {
    const parent = await Deno.makeTempDir();
    const living = await PrivateDirectory.create(parent);
    const orphan = `${parent}/latentmesh-orphan`;
    const open = `${parent}/latentmesh-open`;
    for (const path of [orphan, open]) {
      await Deno.mkdir(path);
      await Deno.writeTextFile(`${path}/owner.lock`, "");
      await Deno.writeTextFile(`${path}/coordinator.sock`, "");
      await Deno.chmod(path, path === orphan ? 0o700 : 0o755);
    }
    await Deno.mkdir(`${parent}/latentmesh-new`, { mode: 0o700 });
    await Deno.symlink(orphan, `${parent}/latentmesh-link`);
    const next = await PrivateDirectory.create(parent);
    const left = [...Deno.readDirSync(parent)].map(({ name }) => name).sort();
    const own = [living, next].map(({ path }) => path.slice(parent.length + 1));
    assertEquals(left, [...own, "latentmesh-link", "latentmesh-new", "latentmesh-open"].sort());
    await living.close();
    await next.close();
    await Deno.remove(parent, { recursive: true });
  });
});

/** The process group. */
function jobOf(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2]);
}
