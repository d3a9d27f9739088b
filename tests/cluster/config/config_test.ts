import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { parseConfig } from "../../../cluster/config/config.ts";
import { settingsOf } from "../../../cluster/config/flags.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { LatentmeshError } from "../../../core/errors.ts";

const none = () => undefined;

describe("configuration", () => {
  it("is read from YAML and JSON alike", () => {
    const yaml = parseConfig("model: m\ncache: { maxTokens: 128 }\nserver:\n  port: 0\n", "c.yaml");
    assertEquals(yaml, parseConfig(`{"model":"m","cache":{"maxTokens":128},"server":{"port":0}}`, "c.json"));
    assertEquals(parseConfig("", "empty.yaml"), {});
  });

  it("names the path of what it cannot use", () => {
    const error = assertThrows(() => parseConfig("server: { prot: 1 }", "c.yaml"), LatentmeshError, "server.prot: there is no such setting");
    assertEquals(error.param, "server.prot");
    assertThrows(() => parseConfig("cache: { dtype: f8 }", "c.yaml"), LatentmeshError, "c.yaml: cache.dtype");
    assertThrows(() => parseConfig("a: [", "c.yaml"), LatentmeshError, "Cannot read c.yaml");
  });

  it("prefers flags to the file, the file to the environment, and that to defaults", () => {
    const env = (name: string) => ({ LATENTMESH_MODEL: "env", LATENTMESH_DEVICE: "dawn" })[name];
    const settings = resolveSettings({ device: "cpu" }, { model: "file", device: "deno", server: { port: 1 } }, env);
    assertEquals([settings.model, settings.device, settings.port, settings.host], ["file", "cpu", 1, "127.0.0.1"]);
    assertEquals(resolveSettings({}, {}, env).model, "env");
    assertEquals(resolveSettings({}, {}, none).model.endsWith("/models/tiny-mla"), true);
  });

  it("gives this host, and no other, the GPUs of --gpus", async () => {
    assertEquals((await settingsOf({ gpus: [0, 1] })).cluster.hosts, [{ name: "local", gpus: [0, 1] }]);
    const config = await Deno.makeTempFile({ suffix: ".yaml" });
    try {
      await Deno.writeTextFile(
        config,
        "cluster: { token: secret-of-this-test, listen: '127.0.0.1:7000', hosts: [{ name: a, gpus: [3] }, { name: b, gpus: [2], join: true }] }",
      );
      const { cluster } = await settingsOf({ config, gpus: [0, 1] });
      assertEquals(cluster.hosts.map(({ name, gpus }) => [name, gpus]), [["a", [0, 1]], ["b", [2]]]);
      assertEquals((await settingsOf({ config })).cluster.hosts[0].gpus, [3]);
      await Deno.writeTextFile(config, "cluster: { hosts: [{ name: b, join: true }] }");
      await assertRejects(() => settingsOf({ config, gpus: [0] }), LatentmeshError, "no worker runs here");
    } finally {
      await Deno.remove(config);
    }
  });

  it("refuses an environment it cannot parse", () => {
    assertThrows(() => resolveSettings({}, {}, (name) => (name === "LATENTMESH_DEVICE" ? "gpu" : undefined)), LatentmeshError, "LATENTMESH_DEVICE");
  });
});
