/**
 * Units that compute prompts and generate: as a configuration asks for them, by `mixed` or as decode groups without prefill units.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { type Scheme, SCHEME_DEFAULTS } from "../../core/tpla/scheme.ts";
import type { Config } from "./config.ts";
import { DECODE_RANKS, unitCounts } from "./host_places.ts";

/** Units that compute prompts and generate; where there are some, there are no others. */
export interface MixedSettings {
  /** 0: there are decode groups and prefill units instead. */
  readonly workers: number;
  /** Workers of each, among which heads are split, and latents where they generate by `tpla`. */
  readonly ranks: number;
  /** Most milliseconds between two tokens of a running stream while prompts are computed beside it; undefined: about three steps. */
  readonly maxStepMs: number | undefined;
}

/** What decides how mixed units attend. */
interface MixedScheme {
  readonly mixed: Pick<MixedSettings, "workers">;
  readonly decode: { readonly scheme: Pick<Scheme, "attention"> };
}

/** Whether there are mixed units whose ranks generate from slices of latents, or from shares of their tokens, with whole ones of prompts in a cache beside them. */
export function generatesFromSlices({ mixed, decode }: MixedScheme): boolean {
  return mixed.workers > 0 && decode.scheme.attention !== "mla";
}

/** What says how latents are cut: nothing to units that attend to whole ones. */
const OF_SLICES = ["latentGroups", "basis", "lambda", "halo", "mu", "paper"] as const;

/** Which mixed units there are, and how whatever generates attends. @throws {LatentmeshError} `invalid_config` if other units are asked for, too */
export function resolveMixed(config: Config): MixedSettings & Pick<Scheme, "attention"> {
  const { mixed, decode = {}, prefill = {} } = config;
  const { workers = unitCounts(config).mixed || (mixed?.ranks === undefined ? 0 : 1), maxStepMs } = mixed ?? {};
  if (workers === 0 && prefill.workers === 0) return withoutPrefill({ decode, prefill }, maxStepMs);
  if (workers === 0) return { workers: 0, ranks: 1, maxStepMs, attention: decode.attention ?? SCHEME_DEFAULTS.attention };
  refuseGiven(
    { "decode.ranks": decode.ranks },
    "mixed units compute prompts and generate by themselves, and there are no other units beside them; " +
      "leave it out, or say prefill.workers: 0 (--prefill-workers 0) instead of mixed for ranks that compute prompts among themselves",
  );
  refuseGiven(
    { "decode.groups": decode.groups, "prefill.workers": prefill.workers },
    "mixed units compute prompts and generate by themselves, and there are no other units beside them; leave one of the two out",
  );
  // A mixed unit decodes as it prefills, exactly, unless it is asked not to.
  return checked({ workers, ranks: mixed?.ranks ?? 1, maxStepMs, attention: decode.attention ?? "mla" }, { decode, prefill });
}

/** Decode groups without prefill units compute prompts among themselves. */
function withoutPrefill({ decode = {}, prefill }: Config, maxStepMs: number | undefined) {
  const ranks = decode.ranks ?? DECODE_RANKS;
  const attention = decode.attention ?? (ranks === 1 ? "mla" : SCHEME_DEFAULTS.attention);
  return checked({ workers: decode.groups ?? 1, ranks, maxStepMs, attention }, { decode, prefill });
}

function checked(units: MixedSettings & Pick<Scheme, "attention">, { decode = {}, prefill = {} }: Config): MixedSettings & Pick<Scheme, "attention"> {
  refuseGiven(
    { "decode.pingPong": decode.pingPong || undefined },
    "mixed units compute prompts and steps in turns, and halves of steps not beside each other",
  );
  refuseGiven({ "prefill.ranks": prefill.ranks }, "there are no prefill units: mixed units compute prompts with all of their ranks");
  if (units.attention === "mla") {
    refuseGiven(
      { ...Object.fromEntries(OF_SLICES.map((key) => [`decode.${key}`, decode[key]])), "prefill.cacheTokens": prefill.cacheTokens },
      "mixed units attend exactly, over whole latents in one cache, unless decode.attention is tpla or dcp; leave it out",
    );
  } else if (units.ranks === 1) {
    const problem =
      `${units.attention} splits latents over ranks, and these mixed units have one each; give them more (mixed.ranks), or leave it out`;
    refuse("decode.attention", problem);
  }
  return units;
}

function refuseGiven(values: Readonly<Record<string, unknown>>, problem: string): void {
  const given = Object.entries(values).find(([, value]) => value !== undefined);
  if (given !== undefined) refuse(given[0], problem);
}

function refuse(param: string, problem: string): never {
  throw new LatentmeshError("invalid_config", `Cannot use ${param}: ${problem}`, { param });
}
