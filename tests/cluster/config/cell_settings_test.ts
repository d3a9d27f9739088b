import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import type { Config } from "../../../mod.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { LatentmeshError } from "../../../core/errors.ts";

const ENV: Record<string, string> = { KEY: "a-key-of-some-length" };
const resolve = (config: Config) => resolveSettings({}, config, (name) => ENV[name]);
const registry = "file:/srv/cells";

describe("settings of a cell", () => {
  it("are none by default, and resolve secrets", () => {
    assertEquals(resolve({}).cell, { registry: undefined, advertiseUrl: undefined, id: undefined, frontKey: undefined });
    const { cell, allowedHosts } = resolve({ cell: { registry, advertiseUrl: "http://cells.example:8080", frontKey: "env:KEY" } });
    assertEquals(cell.frontKey, ENV.KEY);
    assertEquals(allowedHosts!.includes("cells.example"), true, "fronts may ask by the name that they were told");
  });

  const refused: [config: Config, param: string][] = [
    [{ cell: { advertiseUrl: "http://x" } }, "cell.advertiseUrl"],
    [{ cell: { id: "x" } }, "cell.id"],
    [{ cell: { registry: "etcd://x" } }, "cell.registry"],
    [{ cell: { registry, advertiseUrl: "ftp://x" } }, "cell.advertiseUrl"],
    [{ cell: { registry, id: "../x" } }, "cell.id"],
    [{ cell: { registry, frontKey: "short" } }, "cell.frontKey"],
    [{ cell: { registry, frontKey: "no bearer token has spaces" } }, "cell.frontKey"],
    [{ cell: { registry, frontKey: "env:NOTHING" } }, "cell.frontKey"],
    [{ cell: { registry }, server: { apiKeys: "env:KEY" } }, "cell.frontKey"],
    [{ cell: { registry, frontKey: "env:KEY" }, server: { host: "0.0.0.0", apiKeys: "env:KEY" } }, "cell.advertiseUrl"],
    [{ cell: { registry }, models: { a: { model: "x" }, b: { model: "y" } } }, "cell.registry"],
  ];
  for (const [config, param] of refused) {
    it(`refuse ${JSON.stringify(config)}`, () => {
      const error = assertThrows(() => resolve(config), LatentmeshError);
      assertEquals([error.code, error.param], ["invalid_config", param]);
    });
  }
});
