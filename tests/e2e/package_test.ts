/**
 * The package as those have it who import it from a registry: code from a server, no checkout, and an empty cache for the embedded model.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import manifest from "../../deno.json" with { type: "json" };
import { ROOT } from "../../bench/support/root.ts";

/** What a registry serves of a file: names of packages are spelled out, as publishing does. */
async function published(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await Deno.readFile(`${ROOT}/${path}`);
  if (!path.endsWith(".ts")) return bytes;
  const imports: Readonly<Record<string, string>> = manifest.imports;
  const text = new TextDecoder().decode(bytes).replace(/(from |import\(|import )"([^".][^"]*)"/g, (whole, before, name) => {
    const exact = imports[name];
    if (exact !== undefined) return `${before}"${exact}"`;
    const inside = Object.keys(imports).find((key) => name.startsWith(`${key}/`));
    return inside === undefined ? whole : `${before}"${imports[inside]}${name.slice(inside.length)}"`;
  });
  return new TextEncoder().encode(text);
}

const TYPES: Readonly<Record<string, string>> = { ts: "application/typescript", json: "application/json" };

describe("a package from a registry", () => {
  let server: Deno.HttpServer<Deno.NetAddr>, home: string;
  /** Files of the model that were asked for. */
  const fetched: string[] = [];
  beforeAll(async () => {
    home = await Deno.makeTempDir();
    // Code is kept for this server alone; packages are those that are there.
    const { denoDir } = JSON.parse(new TextDecoder().decode((await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output()).stdout));
    await Deno.mkdir(`${home}/deno`);
    await Deno.symlink(`${denoDir}/npm`, `${home}/deno/npm`);
    server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
      const path = new URL(request.url).pathname.slice(1);
      if (path.startsWith("models/")) fetched.push(path.split("/").at(-1)!);
      try {
        const type = TYPES[path.split(".").at(-1)!] ?? "text/plain";
        return new Response(await published(path), { headers: { "content-type": type } });
      } catch {
        return new Response("", { status: 404 });
      }
    });
  });
  afterAll(async () => {
    await server.shutdown();
    await Deno.remove(home, { recursive: true });
  });

  const base = () => `http://127.0.0.1:${server.addr.port}`;
  /** @param cache what is kept there */
  const run = (cache: string, ...args: string[]) =>
    new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-lock", "--no-config", ...args],
      cwd: home,
      env: { XDG_CACHE_HOME: `${home}/${cache}`, DENO_DIR: `${home}/deno`, NO_COLOR: "1" },
      stdout: "piped",
      stderr: "piped",
    });

  it("computes from any directory with the embedded model, which is fetched once, alone and on workers", async () => {
    const script = `${home}/use.ts`;
    await Deno.writeTextFile(
      script,
      `import { Cluster, Engine } from "${base()}/mod.ts";
      const prompt = "And it came to pass";
      const said = async (by) => { let text = ""; for await (const piece of by.generate({ prompt, maxTokens: 8 })) text += piece.text; await by.close(); return text; };
      const alone = await said(await Engine.load());
      const together = await said(await Cluster.start({ decode: { ranks: 2, attention: "mla" } }));
      console.log(JSON.stringify([alone, together]));`,
    );
    const { code, stdout, stderr } = await run("first", "--no-check", script).output();
    const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    assertEquals(code, 0, err);
    const [alone, together] = JSON.parse(out.trim().split("\n").at(-1)!);
    assert(alone.length > 0, out);
    assertEquals(together, alone);
    assertEquals(fetched.toSorted(), [...new Set(fetched)].toSorted(), "every file once");
    assert(fetched.includes("model.safetensors"));
  });

  it("serves from its command line, with answers that have a form", async () => {
    const child = run("second", "--no-check", `${base()}/cluster/main.ts`, "serve", "--port", "0", "--device", "wasm").spawn();
    void child.stdout.cancel();
    let log = "";
    const ready = Promise.withResolvers<string | null>();
    const reading = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
        log += text;
        const url = /ready\s+(http:\S+)/.exec(log)?.[1];
        if (url !== undefined) ready.resolve(url);
      }
      ready.resolve(null);
    })();
    try {
      const url = await ready.promise;
      assert(url !== null && /fetching the embedded model to .*second.*tiny-mla-/.test(log), log);
      const schema = { type: "object", properties: { n: { type: "integer", minimum: 1, maximum: 9 } }, required: ["n"], additionalProperties: false };
      const response = await fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          messages: [{ role: "user", content: "A number?" }],
          max_tokens: 30,
          response_format: { type: "json_schema", json_schema: { name: "n", schema } },
        }),
      });
      const answer = await response.json();
      assertEquals(response.status, 200, JSON.stringify(answer));
      const { n } = JSON.parse(answer.choices[0].message.content);
      assert(Number.isInteger(n) && n >= 1 && n <= 9, `${n}`);
      // What it says can be asked is asked as printed.
      const curl = /or ask: (curl .*)/.exec(log)?.[1] ?? "";
      const asked = await new Deno.Command("sh", { args: ["-c", `command -v curl >/dev/null || exit 3; ${curl}`], stdout: "piped", stderr: "null" })
        .output();
      if (asked.code !== 3) assert(JSON.parse(new TextDecoder().decode(asked.stdout)).choices[0].message.content.length > 0, curl);
    } finally {
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended by itself, which the log explains.
      }
      await child.status;
      await reading;
    }
  });
});
