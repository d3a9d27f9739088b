/**
 * Which worker goes where, and which devices may compute together.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ClusterModel, resolveCache } from "../../../cluster/planning/assignment.ts";
import type { Config, HostConfig } from "../../../cluster/config/config.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { gpuAdvice, idleAdvice, planUnits } from "../../../cluster/planning/topology.ts";
import type { Member } from "../../../cluster/fleet/unit.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { readModelPackage } from "../../../core/model_package.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

const TOKEN = "a-token-for-tests-only";
const settings = (config: Config) => resolveSettings({}, config, (name) => (name === "TOKEN" ? TOKEN : undefined));

describe("the topology", () => {
  it("gives GPUs to ranks in turn, across hosts", () => {
    const hosts = [{ name: "a", gpus: [0, 1] }, { name: "b", gpus: [3], join: true }];
    const units = planUnits(settings({ decode: { ranks: 2, groups: 2 }, cluster: { token: "env:TOKEN", listen: "127.0.0.1:1", hosts } }));
    assertEquals(units.flatMap(({ slots }) => slots.map(({ name, host, gpu, remote }) => `${name} ${host} ${gpu} ${remote}`)), [
      "decode-0.0 a 0 false",
      "decode-0.1 a 1 false",
      "decode-1.0 b 3 true",
      "decode-1.1 a 0 false",
      "prefill-0.0 a 1 false",
    ]);
  });

  it("gives hosts workers of the roles that they take, and leaves no place empty that was named", () => {
    const placed = (config: Config, a: Partial<HostConfig> = {}, b: Partial<HostConfig> = {}) => {
      const hosts = [{ name: "a", gpus: [0, 1], ...a }, { name: "b", gpus: [0, 1], join: true, ...b }];
      const resolved = settings({ ...config, cluster: { token: "env:TOKEN", listen: "127.0.0.1:1", hosts } });
      assertEquals(resolved.unitsGiven, true);
      return [
        planUnits(resolved).flatMap(({ slots }) => slots.map(({ name, host, gpu }) => `${name} ${host}${gpu}`)).join(", "),
        idleAdvice(resolved),
      ];
    };
    const all = "decode-0.0 a0, decode-0.1 a1, prefill-0.0 b0, prefill-1.0 b1";
    assertEquals(placed({}), [all, null]);
    assertEquals(placed({ prefill: { ranks: 2 } }), ["decode-0.0 a0, decode-0.1 a1, prefill-0.0 b0, prefill-0.1 b1", null]);
    // The other way round, said of one of them.
    const around = "decode-0.0 b0, decode-0.1 b1, prefill-0.0 a0, prefill-1.0 a1";
    assertEquals(placed({}, { roles: ["prefill"] }), [around, null]);
    assertEquals(placed({}, {}, { roles: ["decode"] }), [around, null]);
    assertEquals(placed({}, { roles: ["decode", "prefill"] }, { roles: ["decode"] }), [around, null]);
    const mixed = "mixed-0.0 a0, mixed-1.0 a1, mixed-2.0 b0, mixed-3.0 b1";
    assertEquals(placed({}, { roles: ["mixed"] }, { roles: ["mixed"] }), [mixed, null]);
    assertEquals(
      placed({ mixed: { ranks: 2 } }, { roles: ["mixed"] }, { roles: ["mixed"] })[0],
      mixed.replace("1.0 a1", "0.1 a1").replace("2.0", "1.0").replace("3.0", "1.1"),
    );
    assertEquals(placed({ prefill: { workers: 1 } }), [
      all.replace(", prefill-1.0 b1", ""),
      "no worker runs on host b gpu 1: more prefill.workers (--prefill-workers), decode.groups or decode.ranks would use it",
    ]);
    assertEquals(placed({ mixed: { workers: 2 } })[1], "no worker runs on host b gpu 0, host b gpu 1: more mixed.workers (--mixed) would use them");
    // Of one host, too; and a GPU that nobody has named is nobody's concern.
    const here = settings({ decode: { ranks: 2 }, cluster: { hosts: [{ name: "a", gpus: [0, 1, 2, 5] }] } });
    assertEquals([here.prefill.workers, idleAdvice(here)], [2, null]);
    assertEquals(settings({ decode: { ranks: 2 } }).prefill.workers, 1);
    const refused = (roles: HostConfig["roles"], config: Config = {}) => () => placed(config, { roles }, { roles });
    assertThrows(refused(["decode"]), LatentmeshError, "cluster.hosts: no host takes prefill workers; name prefill in the roles of one");
    assertThrows(refused(["prefill"]), LatentmeshError, "no host takes decode workers");
    assertThrows(refused(["mixed"], { decode: { ranks: 2 } }), LatentmeshError, "no host takes decode workers");
    assertThrows(refused(["decode", "prefill"], { mixed: { workers: 1 } }), LatentmeshError, "no host takes mixed workers");
  });

  it("has no ranks share memory that are on two hosts", () => {
    const hosts = [{ name: "a" }, { name: "b", join: true }];
    const on = (config: Config) =>
      planUnits(
        settings({
          ...config,
          decode: { exchange: "shared-memory", ...config.decode },
          cluster: { token: "env:TOKEN", listen: "127.0.0.1:1", hosts },
        }),
      );
    const error = assertThrows(() => on({}), LatentmeshError, "ranks of decode-0 are on hosts a and b, which share no memory");
    assertEquals(error.param, "decode.exchange");
    assertThrows(() => on({ decode: { ranks: 1 }, prefill: { ranks: 2 } }), LatentmeshError, "ranks of prefill-0 are on hosts b and a");
    assertEquals(on({ decode: { exchange: "auto" } }).length, 2);
  });

  it("gives each mixed unit a GPU, and has no other units beside them", () => {
    const hosts = [{ name: "a", gpus: [0, 1] }];
    const resolved = settings({ mixed: { workers: 2 }, cluster: { hosts } });
    assertEquals(planUnits(resolved).flatMap(({ role, slots }) => slots.map(({ name, gpu }) => `${role} ${name} ${gpu}`)), [
      "mixed mixed-0.0 0",
      "mixed mixed-1.0 1",
    ]);
    assertEquals([resolved.decode.scheme.attention, resolved.decode.scheme.ranks, resolved.prefill.workers], ["mla", 1, 0]);
    assertEquals(planUnits(settings({ mixed: { workers: 1, ranks: 2 }, cluster: { hosts } })).map(({ slots }) => slots.length), [2]);
    assertEquals(planUnits(settings({ mixed: { workers: 0 } })).map(({ name }) => name), ["decode-0", "prefill-0"]);
  });

  it("makes mixed units of groups without prefill units, which generate from slices unless they are asked to attend exactly", () => {
    const unitsOf = (config: Config) => {
      const resolved = settings(config);
      const { decode: { scheme: { attention, ranks }, groups }, prefill, mixed } = resolved;
      assertEquals([groups, prefill.workers], [0, 0]);
      return [attention, ranks, mixed.workers, planUnits(resolved).flatMap(({ slots }) => slots.map(({ name }) => name)).join(" ")];
    };
    const workers = { prefill: { workers: 0 } };
    assertEquals(unitsOf(workers), ["tpla", 2, 1, "mixed-0.0 mixed-0.1"]);
    assertEquals(unitsOf({ ...workers, decode: { groups: 2, attention: "mla" } }), ["mla", 2, 2, "mixed-0.0 mixed-0.1 mixed-1.0 mixed-1.1"]);
    assertEquals(unitsOf({ ...workers, decode: { ranks: 1 } }), ["mla", 1, 1, "mixed-0.0"]);
    assertEquals(unitsOf({ ...workers, decode: { attention: "dcp" }, prefill: { workers: 0, cacheTokens: 640 } }), [
      "dcp",
      2,
      1,
      "mixed-0.0 mixed-0.1",
    ]);
    const asked = { mixed: { workers: 1, ranks: 3 }, decode: { attention: "tpla", halo: 8 }, prefill: { cacheTokens: 640 } } as const;
    assertEquals(unitsOf(asked), ["tpla", 3, 1, "mixed-0.0 mixed-0.1 mixed-0.2"]);
    assertEquals([settings(asked).decode.scheme.halo, settings(asked).prefill.cacheTokens], [8, 640]);
    assertEquals(
      unitsOf({ prefill: { workers: 0 }, decode: { pingPong: false } }),
      unitsOf({ prefill: { workers: 0 } }),
      "what is not asked for is no matter",
    );
  });

  it("says what to do where workers share a GPU and others are idle", () => {
    const [shared, own, remote] = [{ remote: false, gpu: null }, { remote: false, gpu: 0 }, { remote: true, gpu: null }];
    assertEquals(gpuAdvice([shared, shared, remote], 3), "2 workers share one of this host's 3 GPUs; --gpus 0,1,2 gives them all");
    assertEquals([gpuAdvice([shared, shared], 1), gpuAdvice([own, own], 2), gpuAdvice([shared, remote], 2)], [undefined, undefined, undefined]);
  });

  it("refuses what cannot work or is not safe, by the path in the file", () => {
    const hosts = [{ name: "a" }, { name: "b", join: true }];
    const cases: [Config, string][] = [
      [{ cluster: { hosts } }, "cluster.listen: hosts join"],
      [{ cluster: { hosts, listen: "127.0.0.1:1" } }, "cluster.token: hosts join"],
      [{ cluster: { hosts, listen: "127.0.0.1:1", token: "short" } }, "cluster.token: it has 5 characters"],
      [{ cluster: { hosts, listen: "127.0.0.1:1", token: "env:NOWHERE" } }, "cluster.token: environment variable NOWHERE"],
      [{ cluster: { hosts, listen: "nonsense", token: TOKEN } }, "is not host:port"],
      [{ cluster: { hosts, listen: "10.0.0.1:1", token: TOKEN } }, "cluster.tls: 10.0.0.1:1 can be reached"],
      [{ cluster: { hosts, listen: "0.0.0.0:1", token: TOKEN, insecure: true } }, "cluster.listen: hosts join, so it must name"],
      [{ cluster: { hosts: [{ name: "a" }, { name: "a", join: true }], listen: "127.0.0.1:1", token: TOKEN } }, "same name"],
      [{ cluster: { hosts: [{ name: "a" }, { name: "b" }] } }, "only one host can be this one"],
      [{ server: { host: "0.0.0.0" } }, "server.host: 0.0.0.0 can be reached"],
      [{ server: { apiKeys: ["short"] } }, "fewer than 16 characters"],
      [{ server: { apiKeys: ["no header can carry this"] } }, "letters, digits"],
      [{ prefill: { workers: 0, ranks: 2 } }, "prefill.ranks: there are no prefill units"],
      [{ prefill: { workers: 0 }, decode: { pingPong: true } }, "decode.pingPong: mixed units compute prompts and steps in turns"],
      [{ prefill: { workers: 0 }, decode: { ranks: 1, attention: "tpla" } }, "decode.attention: tpla splits latents over ranks"],
      [{ prefill: { workers: 0, cacheTokens: 640 }, decode: { attention: "mla" } }, "prefill.cacheTokens: mixed units attend exactly"],
      [{ mixed: { workers: 1 }, prefill: { workers: 0 } }, "prefill.workers: mixed units compute prompts and generate by themselves"],
      [{ mixed: { workers: 1 }, decode: { ranks: 2 } }, "decode.ranks: mixed units"],
      [{ mixed: { workers: 1 }, decode: { ranks: 2 } }, "say prefill.workers: 0 (--prefill-workers 0) instead of mixed"],
      [{ mixed: { workers: 1 }, decode: { halo: 2 } }, "decode.halo: mixed units"],
      [{ mixed: { workers: 1 }, decode: { attention: "tpla" } }, "these mixed units have one each; give them more (mixed.ranks)"],
      [{ mixed: { ranks: 2 }, decode: { attention: "mla", basis: "pca" } }, "decode.basis: mixed units"],
      [{ decode: { attention: "mla", halo: 8 } }, "decode.halo: attention mla is exact"],
      [{ decode: { attention: "dcp", halo: 8 } }, "decode.halo: attention dcp is exact, over whole latents"],
      [{ decode: { attention: "dcp", paper: true } }, "decode.paper: attention dcp is exact"],
      [{ decode: { attention: "dcp", ranks: 1 } }, "decode.attention: dcp shares latents by tokens among ranks, and there is one"],
      [{ prefill: { workers: 0 }, decode: { ranks: 1, attention: "dcp" } }, "decode.attention: dcp splits latents over ranks"],
      [{ decode: { attention: "mla", basis: "pca" } }, "decode.basis: attention mla is exact"],
      [{ decode: { paper: true, basis: "hadamard" } }, "decode.basis: the paper's scheme has pca"],
      [{ decode: { paper: true, lambda: 0.5 } }, "decode.lambda: it is a weight in the balanced basis, and the basis is pca"],
      [{ decode: { basis: "hadamard", lambda: 0.5 } }, "and the basis is hadamard"],
      [{ model: "synthetic:tiny", decode: { lambda: 0.5 } }, "and the basis is identity"],
      [{ decode: { ranks: 1, exchange: "websocket" } }, "decode.exchange: every unit has one worker"],
      [{ mixed: { workers: 2 }, decode: { exchange: "shared-memory" } }, "decode.exchange: every unit has one worker"],
      [{ mixed: { workers: 2 }, decode: { wire: "f16" } }, "decode.wire: every unit has one worker"],
      [{ decode: { ranks: 1, feedForward: "replicated" } }, "decode.feedForward: whatever generates has one worker"],
      [{ decode: { ranks: 1, feedForward: "sharded" }, prefill: { ranks: 2 } }, "decode.feedForward: whatever generates has one worker"],
      [{ decode: { ranks: 1, pingPong: true } }, "decode.pingPong: a group of one worker"],
      [{ decode: { ranks: 2, latentGroups: 1, halo: 8 } }, "decode.halo: there is one slice of the latent"],
      [{ mixed: { workers: 0, ranks: 2 } }, "mixed.ranks: mixed.workers is 0"],
      [{ device: "deno", threads: 2 }, "threads: they are of device wasm, and the device is deno"],
      [{ cluster: { tls: { cert: "c" }, listen: "127.0.0.1:1" } }, "cluster.tls: cert and key belong together"],
      [{ cluster: { tls: { key: "k" }, listen: "127.0.0.1:1" } }, "cluster.tls: cert and key belong together"],
      [{ cluster: { tls: { ca: "c" } } }, "cluster.tls: it is for links to other hosts, and none can join"],
      [{ cache: { memory: 0.5, maxTokens: 640 } }, "cache.memory: cache.maxTokens says"],
    ];
    for (const [config, problem] of cases) {
      const error = assertThrows(() => settings(config), LatentmeshError);
      assert(error.message.includes(problem), `${problem}: ${error.message}`);
    }
    // What is left open anyhow may be said, and what works between some of the units.
    const open = { exchange: "auto", feedForward: "auto", pingPong: false, halo: "auto" } as const;
    for (
      const config of [{ decode: { ...open, ranks: 1 } }, { decode: { ranks: 1, exchange: "websocket" }, prefill: { ranks: 2 } }] satisfies Config[]
    ) {
      assertEquals(settings(config).decode.scheme.ranks, 1);
    }
    assertEquals(settings({ cluster: { hosts, listen: "10.0.0.1:1", token: "env:TOKEN", insecure: true } }).cluster.listen, "ws://10.0.0.1:1");
    assertEquals(settings({ server: { host: "0.0.0.0", apiKeys: "env:TOKEN" } }).apiKeys, [TOKEN]);
  });

  it("lets only devices of one kind compute together, and decides precision by them", async () => {
    using files = new DirectoryFiles(fixtureDirectory("tiny-mla"));
    const model = await readModelPackage(files);
    const member = (name: string, kind: "cpu" | "deno", description: string) =>
      ({ slot: { name }, hello: { device: { kind, description, maxBindingBytes: 2 ** 31 } } }) as unknown as Member;
    const resolve = (...members: Member[]) =>
      resolveCache(settings({}), new ClusterModel(model, { directory: "", basisFile: null }, { model: "", basis: null }), members, null);
    assertEquals(resolve(member("decode-0.0", "cpu", "x"), member("decode-0.1", "cpu", "x")).dtype, "f32");
    assertEquals(resolve(member("decode-0.0", "deno", "A"), member("prefill-0.0", "cpu", "x")).dtype, "f16");
    assertThrows(
      () => resolve(member("decode-0.0", "deno", "A"), member("decode-0.1", "deno", "B")),
      LatentmeshError,
      "ranks of decode-0 have different devices",
    );
  });
});
