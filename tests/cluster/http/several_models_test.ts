import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { createApp } from "../../../cluster/http/app.ts";
import type { ListedModel, ServedModels } from "../../../cluster/http/several_models.ts";

const never = new AbortController().signal;

function listed(id: string, state: ListedModel["state"], error: string | null): ListedModel {
  return { id, state, error, maxContext: null, progress: null };
}

describe("a server of several models", () => {
  it("tells in /readyz and /v1/models which could not be loaded, until they are", async () => {
    const all = [
      listed("a", "unloaded", null),
      listed("b", "unloaded", "no such file"),
      listed("c", "loading", "no room"),
      listed("d", "loaded", null),
    ];
    const none = () => Promise.reject(new Error("not asked for"));
    const models: ServedModels = { list: () => all, use: none, useText: none, describe: none };
    const app = createApp(() => ({ loading: "", loadedBytes: 0, totalBytes: 0 }), { drain: never, shutdown: never, models });
    const readiness = await (await app.request("/readyz")).json();
    assertEquals(readiness, { status: "ready", models: { a: "unloaded", b: "failed", c: "loading", d: "loaded" } });
    const { data } = await (await app.request("/v1/models")).json();
    assertEquals(data[1].status, { value: "unloaded", failed: true, error: "no such file" });
  });
});
