import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { abortableFetch } from "../../../core/net/abortable_fetch.ts";

describe("abortableFetch", () => {
  let server: Deno.HttpServer<Deno.NetAddr>;
  let url = "";
  beforeAll(() => {
    server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/moved") return Response.redirect(`${url}/there`);
      if (pathname === "/nothing") return new Response(null, { status: 204 });
      return new Response(pathname, { status: 203, headers: { "x-a": "b" } });
    });
    url = `http://127.0.0.1:${server.addr.port}`;
  });
  afterAll(() => server.shutdown());

  it("ends answers after garbage was collected, at both ends", async () => {
    const child = new URL("./abortable_fetch_child.ts", import.meta.url).href;
    const args = ["run", "--quiet", "--no-check", "--allow-net=127.0.0.1", "--v8-flags=--expose-gc", child];
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, stdout: "piped", stderr: "piped" }).output();
    assertEquals(new TextDecoder().decode(stdout), "enough, cancelled\nenough, cancelled\n", new TextDecoder().decode(stderr));
  });

  it("is fetch in all else: status, headers, addresses, redirects, answers without a body, requests as objects", async () => {
    const { signal } = new AbortController();
    const response = await abortableFetch(`${url}/moved`, { signal });
    assertEquals([response.status, response.headers.get("x-a"), response.url, response.redirected], [203, "b", `${url}/there`, true]);
    assertEquals(await response.text(), "/there");
    assertEquals((await abortableFetch(`${url}/nothing`, { signal })).body, null);
    assertEquals(await (await abortableFetch(new Request(`${url}/request`, { signal }))).text(), "/request");
    assertEquals(await (await abortableFetch(`${url}/plain`)).text(), "/plain");
  });

  it("fails with the signal's reason before the answer, while it is read, and lets go of signals of what was read", async () => {
    const early = AbortSignal.abort(new Error("early"));
    await assertRejects(() => abortableFetch(url, { signal: early }), Error, "early");
    const abort = new AbortController();
    const response = await abortableFetch(`${url}/x`, { signal: abort.signal });
    const read = await abortableFetch(`${url}/read`, { signal: abort.signal });
    assertEquals(await read.text(), "/read");
    abort.abort(new Error("late"));
    await assertRejects(() => response.text(), Error, "late");
    assert(read.bodyUsed);
  });

  it("is what the program asks with wherever somebody may give up", async () => {
    const raw: string[] = [];
    for (const folder of ["core", "cluster", "workers", "kernels"]) {
      for await (const file of sources(new URL(`../../../${folder}/`, import.meta.url))) {
        if (/(?:await|return|=>?|[(,[?:])\s*fetch\(|(?:globalThis|self)\.fetch\(/.test(await Deno.readTextFile(file))) {
          raw.push(file.pathname.split("/").slice(-3).join("/"));
        }
      }
    }
    assertEquals(raw, []);
  });
});

async function* sources(folder: URL): AsyncGenerator<URL> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* sources(new URL(`${name}/`, folder));
    else if (name.endsWith(".ts")) yield new URL(name, folder);
  }
}
