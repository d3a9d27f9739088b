/**
 * Which units a machine gets where nobody says, and what is predicted of others.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { compareWays } from "../../../cluster/planning/alternatives.ts";
import { chooseUnits } from "../../../cluster/planning/choose_units.ts";
import { examine } from "../../../cluster/commands/doctor.ts";
import { clusterServices } from "../../../cluster/compose.ts";
import type { Config } from "../../../cluster/config/config.ts";
import type { Int4Spec } from "../../../core/model/int4/int4_spec.ts";
import { bytesOfStep, predictStep, type StepLoad } from "../../../cluster/planning/predict_step.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { planUnits } from "../../../cluster/planning/topology.ts";
import { readModelPackage } from "../../../core/model_package.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { Cluster } from "../../../mod.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

interface Machine {
  readonly kind?: "cpu" | "dawn";
  readonly gpus?: number;
  /** Bytes that each GPU has left; undefined: that is not known. */
  readonly free?: number;
}

const services = ({ kind = "dawn", gpus = 1, free }: Machine) => ({
  ...clusterServices,
  gpuCount: () => gpus,
  probeDevice: () => Promise.resolve({ kind, description: "made up", reason: "for a test", limits: { maxBindingBytes: 2 ** 31 - 4 } }),
  freeMemory: () => free === undefined ? Promise.reject(new LatentmeshError("device_unavailable", "who knows")) : Promise.resolve(free),
});

const LITE = "synthetic:v2-lite?layers=4";

async function chosen(config: Config, machine: Machine) {
  const { settings, reason } = await chooseUnits(resolveSettings({}, config, () => undefined), services(machine));
  const slots = planUnits(settings).flatMap(({ slots }) => slots);
  return {
    reason,
    units: planUnits(settings).map(({ name, slots }) => `${name} ${slots.length}`).join(", "),
    gpus: slots.map(({ gpu }) => gpu),
    settings,
  };
}

describe("the units of a machine", () => {
  it("are a small cluster for the embedded model and one mixed worker for others where no GPU is used", async () => {
    for (const machine of [{ kind: "cpu", gpus: 0 }, { kind: "cpu", gpus: 4 }] as const) {
      assertEquals((await chosen({}, machine)).units, "decode-0 2, prefill-0 1");
      assertEquals((await chosen({ model: fixtureDirectory("deepseek-v3-tiny") }, machine)).units, "mixed-0 1");
    }
    assertEquals((await chosen({ model: LITE, device: "cpu" }, { kind: "dawn", gpus: 2 })).units, "mixed-0 1");
  });

  it("are one mixed worker on one GPU, whichever the driver prefers, with what else is configured", async () => {
    for (const gpus of [0, 1]) {
      const { units, gpus: used, reason, settings } = await chosen({ model: LITE, decode: { maxBatch: 7 }, mixed: { maxStepMs: 30 } }, { gpus });
      assertEquals([units, used], ["mixed-0 1", [null]]);
      assert(reason!.includes("there is one GPU") && reason!.includes("--gpus"), reason!);
      assertEquals([settings.decode.maxBatch, settings.mixed.maxStepMs], [7, 30]);
    }
    assertEquals((await chosen({ model: LITE, cluster: { hosts: [{ name: "a", gpus: [3] }] } }, { gpus: 8 })).gpus, [3]);
  });

  it("are one mixed worker on each of several GPUs where the model fits one, or that is not known", async () => {
    for (const free of [100e9, undefined]) {
      const { units, gpus, reason } = await chosen({ model: LITE }, { gpus: 3, free });
      assertEquals([units, gpus], ["mixed-0 1, mixed-1 1, mixed-2 1", [0, 1, 2]]);
      assert(reason!.includes("--ranks 2 --attention tpla") && reason!.includes("plan --compare"), reason!);
    }
    assertEquals((await chosen({ model: LITE, cluster: { hosts: [{ name: "a", gpus: [1, 4] }] } }, { gpus: 8, free: 100e9 })).gpus, [1, 4]);
  });

  it("are a TPLA group and a prefill worker where latents fit only when they are cut, and all GPUs together where not even that fits", async () => {
    // 7.2 GB of whole latents, beside 4.8 GB of whole weights.
    const config = { model: LITE, cache: { maxTokens: 3 << 19 } };
    assertEquals((await chosen(config, { gpus: 3, free: 40e9 })).units, "mixed-0 1, mixed-1 1, mixed-2 1");
    const cut = await chosen(config, { gpus: 3, free: 9e9 });
    assertEquals([cut.units, cut.gpus], ["decode-0 2, prefill-0 1", [0, 1, 2]]);
    assertEquals(cut.settings.decode.scheme.attention, "tpla");
    assert(cut.reason!.includes("does not fit one GPU (GPU 0 would need"), cut.reason!);
    // Less than the whole model takes.
    const small = { model: LITE, cache: { maxTokens: 8192 } };
    const together = await chosen(small, { gpus: 3, free: 3e9 });
    assertEquals(together.units, "mixed-0 3");
    assert(together.reason!.includes("does not fit one GPU"), together.reason!);
    assert((await chosen(small, { gpus: 3, free: 1e9 })).reason!.includes("nothing fits"), "said before anything is loaded");
    // Of two GPUs one cannot be a group.
    assertEquals((await chosen(small, { gpus: 2, free: 4e9 })).units, "mixed-0 2");
  });

  it("are compared by what they are configured to hold", async () => {
    using files = clusterServices.openFiles(LITE);
    const settings = resolveSettings({}, { model: LITE, cache: { maxTokens: 32768 } }, () => undefined);
    const ways = await compareWays(settings, [0, 1, 2, 3], await readModelPackage(files), files.name, services({ free: 40e9 }));
    assertEquals(ways.map(({ batch, obstacle }) => [batch, obstacle]), [[8, null], [8, null], [8, null], [8, null], [8, null]]);
    const [replicas, group, sliced, together, shared] = ways;
    assert(replicas.tokensPerSecond! > group.tokensPerSecond! && group.stepMs!.full < replicas.stepMs!.full + 0.8, JSON.stringify(ways));
    assert(replicas.weightBytes > group.weightBytes && group.weightBytes > together.weightBytes);
    // All of attention is there for prompts, too, where feed-forward blocks are whole, and is not read in steps: of latents they read less.
    assert(sliced.weightBytes > together.weightBytes && sliced.stepMs!.full < together.stepMs!.full, JSON.stringify(ways));
    assertEquals([sliced.flags, sliced.taken], ["--ranks 4 --attention tpla --prefill-workers 0", "never"]);
    // A quarter of all tokens is less than a quarter of each latent with the rotated keys and the halo.
    assertEquals([shared.flags, shared.taken], ["--ranks 4 --attention dcp --prefill-workers 0", "never"]);
    assert(shared.tokens! > sliced.tokens! && shared.tokens! > together.tokens!, JSON.stringify(ways));
    for (const { tokens, stepMs } of ways) assert(tokens! > 32768 && stepMs!.one < stepMs!.full);
  });

  it("are those that are configured, where anything about them is", async () => {
    const hosts = [{ name: "a" }, { name: "b", join: true }];
    const cases: [Config, string][] = [
      [{ decode: { ranks: 2 } }, "decode-0 2, prefill-0 1"],
      [{ decode: { attention: "mla" } }, "decode-0 2, prefill-0 1"],
      [{ decode: { groups: 2, ranks: 1 } }, "decode-0 1, decode-1 1, prefill-0 1"],
      [{ prefill: { workers: 2 } }, "decode-0 2, prefill-0 1, prefill-1 1"],
      [{ mixed: { workers: 2 } }, "mixed-0 1, mixed-1 1"],
      [{ mixed: { ranks: 2 } }, "mixed-0 2"],
      [{ prefill: { workers: 0 } }, "mixed-0 2"],
      [{ cluster: { hosts, token: "0123456789abcdef", listen: "127.0.0.1:1" } }, "decode-0 2, prefill-0 1"],
    ];
    for (const [config, units] of cases) {
      const { reason, ...rest } = await chosen({ model: LITE, ...config }, { gpus: 4, free: 100e9 });
      assertEquals([reason, rest.units], [null, units]);
    }
  });

  it("are mixed where the most time between two tokens is set", async () => {
    const bounded = { mixed: { maxStepMs: 50 } };
    assertEquals((await chosen(bounded, { kind: "cpu", gpus: 0 })).units, "mixed-0 1");
    assertEquals((await chosen({ model: LITE, ...bounded }, { gpus: 3, free: 100e9 })).units, "mixed-0 1, mixed-1 1, mixed-2 1");
    // Where a TPLA group would be taken otherwise.
    const { units, settings, reason } = await chosen({ model: LITE, cache: { maxTokens: 3 << 19 }, ...bounded }, { gpus: 3, free: 9e9 });
    assertEquals([units, settings.mixed.maxStepMs], ["mixed-0 3", 50], reason!);
    const cluster = await Cluster.start({ ...bounded, device: "wasm" });
    assertEquals((await cluster.status()).map(({ unit }) => unit), ["mixed-0"]);
    await cluster.close();
  });

  it("are not those that are configured where the most time between two tokens is set that others have no use for", async () => {
    for (const config of [{ decode: { ranks: 2 } }, { mixed: { workers: 0 } }]) {
      const given = { ...config, mixed: { ...config.mixed, maxStepMs: 50 } };
      const refused = () => chosen(given, { kind: "cpu", gpus: 0 });
      await assertRejects(refused, LatentmeshError, "Cannot use mixed.maxStepMs: it (--max-step-ms) bounds what mixed units do");
      const findings = await examine(resolveSettings({}, { ...given, server: { port: 0 } }, () => undefined), services({ kind: "cpu", gpus: 0 }));
      assert(findings.some(({ state, text }) => state === "fail" && text.includes("mixed.maxStepMs")), JSON.stringify(findings));
      await assertRejects(() => Cluster.start(given), LatentmeshError, "mixed.maxStepMs");
    }
    for (const config of [{ prefill: { workers: 0 } }, { mixed: { workers: 1 } }]) {
      const given = { ...config, mixed: { workers: undefined, ...config.mixed, maxStepMs: 50 } };
      assertEquals((await chosen(given, { kind: "cpu", gpus: 0 })).settings.mixed.maxStepMs, 50);
    }
  });

  it("that cannot be, and certificates that cannot be read, are findings of doctor, too", async () => {
    const hosts = [{ name: "a" }, { name: "b", join: true }];
    const config: Config = {
      model: LITE,
      decode: { exchange: "shared-memory" },
      server: { port: 0 },
      cluster: { token: "0123456789abcdef", listen: "127.0.0.1:0", tls: { cert: "/nowhere/cert.pem", key: "/nowhere/key.pem" }, hosts },
    };
    const findings = await examine(resolveSettings({}, config, () => undefined), services({ free: 100e9 }));
    const failed = findings.filter(({ state }) => state === "fail").map(({ subject, text }) => `${subject}: ${text}`);
    assertEquals(failed.length, 2, failed.join("\n"));
    assert(
      failed[0].startsWith("tls: Cannot read cluster.tls.cert") && failed[1].includes("ranks of decode-0 are on hosts a and b"),
      failed.join("\n"),
    );
  });

  it("are a finding of doctor", async () => {
    const findings = await examine(resolveSettings({}, { model: LITE, server: { port: 0 } }, () => undefined), services({ free: 100e9 }));
    assert(findings.some(({ subject, text }) => subject === "units" && text.startsWith("one mixed worker")), JSON.stringify(findings));
  });
});

describe("a predicted step", () => {
  it("takes longer with more rows, longer contexts and more sums, and reads no expert that no row has chosen", async () => {
    using files = clusterServices.openFiles(LITE);
    const { spec } = await readModelPackage(files);
    const load = { weightBytes: 5e9, cachedBytesPerToken: 4608, sharing: 1, sums: 8 };
    const step = (change: object, batch: number, context: number) => predictStep(spec, "keep", { ...load, ...change }, { batch, context });
    fc.assert(fc.property(fc.integer({ min: 1, max: 255 }), fc.integer({ min: 0, max: 1 << 17 }), (batch, context) => {
      const one = step({}, batch, context);
      assert(one > 0 && one <= step({}, batch + 1, context) && one < step({}, batch, context + 1) && one < step({ sums: 9 }, batch, context));
      assert(step({ sharing: 2, weightBytes: 2.5e9 }, batch, context) < one, "shared by two");
    }));
    const { experts, activeExperts, expertWidth } = spec.moe!;
    const routed = 3 * (experts - activeExperts) * 3 * spec.hiddenSize * expertWidth * 2;
    // Three of the four layers have experts.
    const read = (int4: Int4Spec | null) =>
      bytesOfStep({ ...spec, int4 }, "keep", load, { batch: 1, context: 0 }) + spec.vocabSize * spec.hiddenSize * 2;
    assertEquals(read(null), 5e9 - routed);
    // Of 16 bits, four and the scale's share are left, or a word's with a zero point.
    assertEquals(read({ kind: "compressed-tensors", groups: [32], zeros: "none" }), 5e9 - routed * (4 + 0.5) / 16);
    assertEquals(read({ kind: "awq", group: 128 }), 5e9 - routed * (4 + 0.25) / 16);
  });

  it("reads index keys of all tokens, and latents of those that are chosen alone", async () => {
    using files = clusterServices.openFiles("synthetic:v3.2?layers=4");
    const { spec } = await readModelPackage(files);
    const load = { weightBytes: 1e12, cachedBytesPerToken: 4 * (576 + 128) * 2, sharing: 1, sums: 0 };
    const read = (context: number, change: Partial<StepLoad> = {}) => {
      const bytes = (context: number) => bytesOfStep(spec, "keep", { ...load, ...change }, { batch: 3, context });
      return bytes(context) - bytes(0);
    };
    assertEquals(read(2048), 3 * 2048 * load.cachedBytesPerToken);
    assertEquals(read(131072), 3 * 4 * (131072 * 128 + 2048 * 576) * 2);
    // In eight bits, with a scale that has 16 bytes.
    assertEquals(read(131072, { cachedBytesPerToken: 4 * (576 * 2 + 144), indexDtype: "fp8" }), 3 * 4 * (131072 * 144 + 2048 * 576 * 2));
  });
});
