/**
 * What users are told that would make more of their machines.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { RunningCluster } from "../../../cluster/cluster.ts";
import { examine } from "../../../cluster/commands/doctor.ts";
import { clusterServices } from "../../../cluster/compose.ts";
import { loadClusterModel } from "../../../cluster/fleet/load_model.ts";
import { resolveSettings } from "../../../cluster/config/settings.ts";
import { fakeServices } from "../../support/fake_workers.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

const ADVICE = "the matrix units are not used; a command brings them";

describe("advice", () => {
  it("of workers is the cluster's, once, however many have the same to say", async () => {
    const config = { model: fixtureDirectory("tiny-mla"), decode: { ranks: 2, attention: "mla" } } as const;
    const settings = resolveSettings({}, config, () => undefined);
    const { hashes } = await loadClusterModel(settings, clusterServices);
    const adviceOf = async (advice: string | undefined, gpus: number) => {
      const services = fakeServices(() => undefined, [], hashes, { kind: "deno", description: "a card", maxBindingBytes: 2 ** 32, advice });
      const cluster = await RunningCluster.launch(settings, { ...services, gpuCount: () => gpus });
      await cluster.close();
      return cluster.advice;
    };
    assertEquals(await adviceOf(ADVICE, 1), [ADVICE]);
    assertEquals(await adviceOf(undefined, 1), []);
    assertEquals(await adviceOf(ADVICE, 2), ["3 workers share one of this host's 2 GPUs; --gpus 0,1 gives them all", ADVICE]);
  });

  it("about the device is among doctor's findings", async () => {
    const settings = resolveSettings({}, { model: fixtureDirectory("tiny-mla"), server: { port: 0 } }, () => undefined);
    for (const advice of [ADVICE, undefined]) {
      const limits = { maxBindingBytes: 2 ** 31 };
      const probeDevice = () => Promise.resolve({ kind: "deno" as const, description: "a card", reason: "a hardware GPU", advice, limits });
      const findings = await examine(settings, { ...clusterServices, probeDevice });
      assertEquals(findings.filter(({ text }) => text === ADVICE).map(({ state }) => state), advice === undefined ? [] : ["note"]);
    }
  });
});
