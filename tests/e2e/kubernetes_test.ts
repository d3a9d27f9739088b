/**
 * A cell and a front as the processes that they are, with the permissions that they have, which meet in Kubernetes: an API server in memory, and an account whose token
 * is replaced.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { taskCommand } from "../../bench/support/process.ts";
import { until } from "../../bench/support/until.ts";
import { KeptInKubernetes } from "../support/kept_in_kubernetes.ts";
import { Running } from "../../bench/support/running.ts";

describe("a cell and a front in Kubernetes", () => {
  it("find each other there, with a token that is replaced, and part when the cell is told to end", async () => {
    await using kept = await KeptInKubernetes.open({});
    const { api, account } = kept;
    const env = {
      KUBERNETES_SERVICE_HOST: "127.0.0.1",
      KUBERNETES_SERVICE_PORT: String(api.port),
      LATENTMESH_KUBE_ACCOUNT: account.directory,
      POD_NAME: "cell-0",
      POD_UID: "uid-of-cell-0",
    };
    const registry = ["--registry", "kubernetes?fleet=test"];
    await using front = new Running(["front", "--port", "0", ...registry], env);
    const url = await front.url();
    await using cell = new Running(["serve", "--port", "0", "--device", "wasm", "--single", "--cell-id", "cell-0", ...registry], env);
    const readiness = async () => (await (await fetch(`${url}/readyz`)).json()).status;
    await until(async () => await readiness() === "ready");
    const [{ metadata: { name, labels, ownerReferences } }] = api.leases;
    assertEquals([name, labels.fleet, ownerReferences?.[0].uid], ["latentmesh-cell-cell-0", "test", "uid-of-cell-0"]);
    api.grant("second");
    await Deno.writeTextFile(`${account.directory}/token`, "second");
    api.revoke("valid");
    api.endWatches();
    const { revision } = api;
    await until(() => api.revision > revision + 1);
    const body = JSON.stringify({ model: "tiny-mla", messages: [{ role: "user", content: "Hello" }], max_tokens: 4 });
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
    assertEquals(response.status, 200, front.log);
    assertEquals((await response.json()).usage.completion_tokens, 4);
    const { front: { registry: named, registryAgeMs } } = await (await fetch(`${url}/cluster`)).json();
    assertEquals(named, registry[1]);
    assert(registryAgeMs < 60_000);
    assertEquals([await cell.end("SIGTERM"), api.leases], [0, []], cell.log);
    await until(async () => await readiness() === "no cell is ready");
    assertEquals(await front.end("SIGTERM"), 0, front.log);
  });

  it("say that they are in no pod", async () => {
    const { code, stderr } = await taskCommand(["front", "--registry", "kubernetes"], { KUBERNETES_SERVICE_HOST: "" }).output();
    assertEquals(code, 1);
    assertStringIncludes(new TextDecoder().decode(stderr), "KUBERNETES_SERVICE_HOST");
  });
});
