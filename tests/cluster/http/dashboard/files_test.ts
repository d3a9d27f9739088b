/**
 * What the page consists of: its files as they are served, the libraries among them, and what they write for others.
 */
import { Hono } from "hono";
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { snippets } from "../../../../cluster/http/dashboard/connect.js";
import { addDashboard, DASHBOARD_PATHS } from "../../../../cluster/http/dashboard/routes.ts";
import { LANGUAGES } from "../../../../cluster/http/dashboard/libraries.ts";
import type { AppEnv } from "../../../../cluster/http/server_context.ts";
import { ROOT } from "../../../../bench/support/root.ts";

const app = new Hono<AppEnv>();
addDashboard(app);

const text = async (path: string) => await (await app.request(path)).text();

describe("the page's files", () => {
  it("name only each other: everything that is imported is served, and everything on disk is", async () => {
    for (const path of DASHBOARD_PATHS.filter((path) => path.endsWith(".js"))) {
      for (const [, name] of (await text(path)).matchAll(/(?:\bfrom|\bimport)\s*"(\.[^"]+)"/g)) {
        const { pathname } = new URL(name, `http://h${path}`);
        assert(DASHBOARD_PATHS.includes(pathname), `${path} imports ${pathname}`);
      }
    }
    const folder = `${ROOT}/cluster/http/dashboard`;
    const walk = async function* (at: string): AsyncGenerator<string> {
      for await (const { name, isDirectory } of Deno.readDir(`${folder}${at}`)) {
        if (isDirectory) yield* walk(`${at}/${name}`);
        else yield `${at}/${name}`;
      }
    };
    for await (const path of walk("")) if (/\.(js|css)$/.test(path)) assert(DASHBOARD_PATHS.includes(`/dashboard${path}`), path);
    const html = await text("/");
    for (const [, path] of html.matchAll(/(?:src|href)="(dashboard[^"]+)"/g)) assert(DASHBOARD_PATHS.includes(`/${path}`), path);
    assert(!/<style|style=|<script(?![^>]*\bsrc=)|\son\w+=/.test(html), "nothing is inline");
  });

  it("come packed where that is understood, and are not sent again while they are the same", async () => {
    const plain = await app.request("/dashboard/lib/marked.js");
    assertEquals(plain.headers.get("content-encoding"), null);
    const packed = await app.request("/dashboard/lib/marked.js", { headers: { "accept-encoding": "br, gzip" } });
    assertEquals([packed.headers.get("content-encoding"), packed.headers.get("vary")], ["gzip", "accept-encoding"]);
    const unpacked = new Response(packed.body!.pipeThrough(new DecompressionStream("gzip")));
    assertEquals(await unpacked.text(), await plain.text());
    const refused = await app.request("/dashboard/lib/marked.js", { headers: { "accept-encoding": "gzip;q=0" } });
    assertEquals(refused.headers.get("content-encoding"), null);
    const again = await app.request("/dashboard/lib/marked.js", { headers: { "if-none-match": plain.headers.get("etag")! } });
    assertEquals([again.status, await again.text()], [304, ""]);
  });

  it("allow nothing from elsewhere", async () => {
    for (const path of DASHBOARD_PATHS) {
      const { headers, body } = await app.request(path);
      await body?.cancel();
      const policy = headers.get("content-security-policy")!;
      assert(policy.startsWith("default-src 'self';") && !policy.includes("unsafe"), policy);
      assertEquals(headers.get("x-content-type-options"), "nosniff");
    }
  });

  it("have every language of code that they ask for", async () => {
    const source = await text("/dashboard/chat/highlight.js");
    const asked = [...source.matchAll(/^ {4}"?([\w-]+)"?: "[^"]+",$/gm)].map(([, name]) => name);
    assert(asked.length > 10);
    for (const name of [...asked, ...JSON.parse(/WITHIN = (\[.*?\])/.exec(source)![1])]) assert(name in LANGUAGES, name);
    for (const name of Object.keys(LANGUAGES)) assert(asked.includes(name) || source.includes(`"${name}"`), `nobody asks for ${name}`);
  });

  it("write snippets that hold any model's name", () => {
    const model = `it's "x" \\ y`;
    const all = snippets({ root: "http://h", model, keyed: true });
    const body = /-d '(.*)'$/s.exec(all.curl)![1].replaceAll("'\\''", "'");
    assertEquals(JSON.parse(body).model, model);
    for (const name of ["Python", "JavaScript", "Codex"] as const) assertEquals(JSON.parse(/model ?[=:] ?(".*"),?/.exec(all[name])![1]), model);
    assert(all["Claude Code"].includes(`ANTHROPIC_MODEL='it'\\''s "x" \\ y'`), all["Claude Code"]);
    for (const text of Object.values(all)) assert(text.includes("YOUR KEY") && text.includes("http://h"), text);
    const open = snippets({ root: "http://h", model: "m", keyed: false });
    for (const text of Object.values(open)) assert(!text.includes("YOUR KEY"), text);
  });
});
