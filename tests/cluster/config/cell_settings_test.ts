import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Config } from "../../../mod.ts";
import { DEFAULT_FRONT_PORT, type FrontFlags, resolveFront } from "../../../cluster/config/front_settings.ts";
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
    [{ cell: { registry, advertiseUrl: "http://user:password@x" } }, "cell.advertiseUrl"],
    [{ cell: { registry, advertiseUrl: "http://x/?a=b" } }, "cell.advertiseUrl"],
    [{ cell: { registry, advertiseUrl: "http://x#y" } }, "cell.advertiseUrl"],
    [{ cell: { registry, id: "../x" } }, "cell.id"],
    [{ cell: { registry, frontKey: "short" } }, "cell.frontKey"],
    [{ cell: { registry, frontKey: "no bearer token has spaces" } }, "cell.frontKey"],
    [{ cell: { registry, frontKey: "env:NOTHING" } }, "cell.frontKey"],
    [{ cell: { registry, frontKey: "env:KEY" }, server: { apiKeys: ["another-key-of-clients", "env:KEY"] } }, "cell.frontKey"],
    [{ cell: { registry }, server: { apiKeys: "env:KEY" } }, "cell.frontKey"],
    [{ cell: { registry, frontKey: "env:KEY" }, server: { host: "0.0.0.0", apiKeys: ["another-key-of-clients"] } }, "cell.advertiseUrl"],
    [{ cell: { registry }, models: { a: { model: "x" }, b: { model: "y" } } }, "cell.registry"],
  ];
  for (const [config, param] of refused) {
    it(`refuse ${JSON.stringify(config)}`, () => {
      const error = assertThrows(() => resolve(config), LatentmeshError);
      assertEquals([error.code, error.param], ["invalid_config", param]);
    });
  }
});

describe("settings of a front", () => {
  const resolveFlags = (flags: Partial<FrontFlags>) => resolveFront({ registry, ...flags }, (name) => ENV[name]);

  it("are a server's, on a port of their own", () => {
    const { port, host, limits, cellKey, apiKeys } = resolveFlags({ cellKey: "env:KEY", apiKey: ["the-first-of-the-keys"], concurrent: 3 });
    assertEquals({ port, host, cellKey, apiKeys }, {
      port: DEFAULT_FRONT_PORT,
      host: "127.0.0.1",
      cellKey: ENV.KEY,
      apiKeys: ["the-first-of-the-keys"],
    });
    assertEquals(limits?.concurrent, 3);
    assertEquals(resolveFlags({}).limits, undefined);
  });

  const refused: [flags: Partial<FrontFlags>, param: string][] = [
    [{ concurrent: 0 }, "--concurrent"],
    [{ requestsPerMinute: 0 }, "--requests-per-minute"],
    [{ cellKey: "short" }, "--cell-key"],
    [{ cellKey: "env:KEY", apiKey: ["env:KEY"] }, "--cell-key"],
    [{ host: "0.0.0.0" }, "--host"],
    [{ apiKey: ["short"] }, "--api-key"],
  ];
  for (const [flags, param] of refused) {
    it(`refuse ${JSON.stringify(flags)}`, () => {
      const error = assertThrows(() => resolveFlags(flags), LatentmeshError);
      assertEquals([error.code, error.param], ["invalid_config", param]);
      assert(!/\b(server|cluster)\.\w/.test(error.message), error.message);
    });
  }
});
