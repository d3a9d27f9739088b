import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { Hono } from "hono";
import { requireKey } from "../../../cluster/http/guards.ts";
import type { AppEnv } from "../../../cluster/http/server_context.ts";

describe("keys of clients", () => {
  it("are hashed once for each that a request shows, however many there are, and name whose it is", async () => {
    const hashed: string[] = [];
    const digestOf = (key: string) => {
      hashed.push(key);
      return new TextEncoder().encode(key.padEnd(32, "."));
    };
    const app = new Hono<AppEnv>();
    app.use(requireKey(Array.from({ length: 50 }, (_, i) => `key-${i}`), digestOf));
    app.get("/", (c) => c.text(c.get("client")));
    app.onError((_, c) => c.text("refused", 401));
    const ask = async (headers: Record<string, string>) => {
      hashed.length = 0;
      const response = await app.request("/", { headers });
      return [response.status, await response.text(), hashed.join()];
    };
    assertEquals(await ask({ authorization: "Bearer key-49" }), [200, btoa("key-49......"), "key-49"]);
    assertEquals(await ask({ authorization: "Bearer wrong", "x-api-key": "key-0" }), [200, btoa("key-0......."), "wrong,key-0"]);
    assertEquals(await ask({ "x-api-key": "key-50" }), [401, "refused", "key-50"]);
    assertEquals(await ask({}), [401, "refused", ""]);
  });
});
