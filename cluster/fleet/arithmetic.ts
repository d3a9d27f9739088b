/**
 * What the bits of a cluster's answers depend on, see `core/registry/fingerprint.ts`.
 *
 * @module
 */
import manifest from "../../deno.json" with { type: "json" };
import { sha256 } from "../../core/model/model_hash.ts";
import type { CellArithmetic } from "../../core/registry/fingerprint.ts";
import { type ClusterModel, resolveCuts } from "../planning/assignment.ts";
import type { Settings } from "../config/settings.ts";
import type { UnitHost } from "./unit_host.ts";

/**
 * @param settings as they are in force
 * @param digest of every tensor of the model, which takes minutes for large ones
 */
export async function arithmeticOf(
  settings: Settings,
  model: ClusterModel,
  host: UnitHost,
  digest: () => Promise<Uint8Array<ArrayBuffer>>,
): Promise<CellArithmetic> {
  const { decode: { scheme, wire, maxBatch }, weights } = settings;
  const { package: { textSource, generation }, hashes } = model;
  const { dtype, maxContext } = host.cache;
  const [tensors, text] = await Promise.all([
    digest().then(sha256),
    sha256(new TextEncoder().encode(JSON.stringify([{ ...textSource, name: "" }, generation]))),
  ]);
  const { attention, basis, lambda, mu, paper } = scheme;
  return {
    version: manifest.version,
    weights: await sha256(new TextEncoder().encode([hashes.model, tensors, text].join(" "))),
    basis: hashes.basis,
    formats: { weights, latents: dtype, wire },
    cuts: { ...resolveCuts(settings, model.package), scheme: { attention, basis, lambda, mu, paper } },
    maxContext,
    devices: Object.fromEntries(host.units.map((unit) => [unit.plan.role, devicesOf(host, unit.plan.role)])),
    maxBatch,
  };
}

function devicesOf(host: UnitHost, role: string): string[] {
  const members = host.units.filter(({ plan }) => plan.role === role).flatMap((unit) => unit.present());
  return [...new Set(members.map(({ hello: { device } }) => `${device.kind}: ${device.description}`))].sort();
}
