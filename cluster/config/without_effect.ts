/**
 * Settings that would change nothing beside the others: refused, since whoever gave them expects something of them.
 *
 * @module
 */
import { type DeviceChoice, isHostChoice } from "../../core/device_kind.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { cutsLatents, type Scheme } from "../../core/tpla/scheme.ts";
import type { Config } from "./config.ts";
import { DECODE_RANKS } from "./host_places.ts";
import type { MixedSettings } from "./mixed_units.ts";

/** What was made of a configuration. */
export interface ResolvedUnits {
  readonly attention: Scheme["attention"];
  readonly mixed: MixedSettings;
  readonly device: DeviceChoice;
  /** Where none is asked for. */
  readonly defaultBasis: Scheme["basis"];
}

/** Checks that refuse by name what has no effect. */
export function withoutEffect(config: Config, units: ResolvedUnits): readonly (() => void)[] {
  return [
    () => ofDevice(config, units),
    () => ofUnits(config, units),
    () =>
      cutsLatents({ attention: units.attention, latentGroups: config.decode?.latentGroups })
        ? ofSlices(config, units)
        : ofExactAttention(config, units),
  ];
}

function ofDevice({ threads }: Config, { device }: ResolvedUnits): void {
  if (threads === undefined || device === "wasm" || device === "auto") return;
  refuse("threads", `they are of device wasm, and the device is ${device}; leave it out`);
}

/** What is between ranks, where there are none to have it between. */
function ofUnits({ decode = {}, prefill = {}, mixed: given }: Config, { mixed }: ResolvedUnits): void {
  if (mixed.workers === 0 && given?.ranks !== undefined) refuse("mixed.ranks", "mixed.workers is 0: there are no mixed units; leave it out");
  const ranks = mixed.workers > 0 ? mixed.ranks : decode.ranks ?? DECODE_RANKS;
  const alone = "every unit has one worker, which sums nothing with others; leave it out, or give units more ranks";
  const several = ranks > 1 || (mixed.workers === 0 && (prefill.ranks ?? 1) > 1);
  if (!several && !isLeftOpen(decode.exchange)) refuse("decode.exchange", alone);
  if (!several && decode.wire !== undefined) refuse("decode.wire", alone);
  if (ranks === 1 && !isLeftOpen(decode.feedForward)) {
    refuse("decode.feedForward", "whatever generates has one worker, which has feed-forward blocks whole; leave it out, or give it more ranks");
  }
  if (ranks === 1 && decode.pingPong === true) {
    refuse("decode.pingPong", "a group of one worker waits for no sums that another half of a step could be computed beside; leave it out");
  }
}

function isLeftOpen(choice: string | undefined): boolean {
  return choice === undefined || choice === "auto";
}

/** What says how latents are cut, where they are not. */
function ofExactAttention({ decode = {} }: Config, { attention, mixed }: ResolvedUnits): void {
  const other = attention === "mla" ? "take attention tpla" : "take attention tpla, or more latentGroups";
  for (const key of ["basis", "lambda", "halo", "mu"] as const) {
    if (decode[key] !== undefined) refuse(`decode.${key}`, `attention ${attention} is exact, over whole latents; leave it out, or ${other}`);
  }
  if (attention !== "dcp") return;
  if (decode.paper === true) refuse("decode.paper", "attention dcp is exact, over whole latents; leave it out, or take attention tpla");
  const ranks = mixed.workers > 0 ? mixed.ranks : decode.ranks ?? DECODE_RANKS;
  if (ranks === 1) refuse("decode.attention", "dcp shares latents by tokens among ranks, and there is one; give units more, or leave it out");
}

/** The same where they are cut in another way. */
function ofSlices({ decode = {} }: Config, { mixed, defaultBasis }: ResolvedUnits): void {
  if (decode.paper === true && decode.basis !== undefined && decode.basis !== "pca") {
    refuse("decode.basis", "the paper's scheme has pca; leave it out, or paper");
  }
  const basis = decode.paper === true ? "pca" : decode.basis ?? defaultBasis;
  if (decode.lambda !== undefined && basis !== "balanced") {
    refuse("decode.lambda", `it is a weight in the balanced basis, and the basis is ${basis}; leave it out, or take basis balanced`);
  }
  const groups = decode.latentGroups ?? (mixed.workers > 0 ? mixed.ranks : decode.ranks ?? DECODE_RANKS);
  if (groups === 1 && typeof decode.halo === "number") {
    refuse("decode.halo", "there is one slice of the latent, of which every rank has all keys; leave it out, or take more latentGroups");
  }
}

/**
 * Refuses what would be of use to other units than there are.
 *
 * @throws {LatentmeshError} `invalid_config`
 */
export function refuseIdle({ mixed }: { readonly mixed: MixedSettings }): void {
  if (mixed.workers > 0 || mixed.maxStepMs === undefined) return;
  refuse(
    "mixed.maxStepMs",
    "it (--max-step-ms) bounds what mixed units do beside streams, and prefill units hold none up; leave it out, or ask for mixed units (--mixed 1)",
  );
}

/** Refuses flags that have no effect beside each other, though a file may have one of them. @throws {LatentmeshError} `invalid_config` */
export function refuseIdleFlags({ device, gpus }: { readonly device?: DeviceChoice; readonly gpus?: readonly number[] }): void {
  if (device === undefined || gpus === undefined || !isHostChoice(device)) return;
  refuse("--gpus", `workers of --device ${device} compute on processors; leave one of the two out`);
}

function refuse(param: string, problem: string): never {
  throw new LatentmeshError("invalid_config", `Cannot use ${param}: ${problem}`, { param });
}
