/**
 * Settings of a server that is one of several behind fronts.
 *
 * @module
 */
import { resolveSecret } from "../../core/env.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { openRegistry } from "../registry/open_registry.ts";
import type { Config } from "./config_type.ts";
import { BEARER, LEAST_SECRET } from "./secrets.ts";

/** One server of several behind fronts. */
export interface CellSettings {
  /** Where it says that it is there; undefined: nowhere. */
  readonly registry: string | undefined;
  /** Where fronts reach it; undefined: where it listens. */
  readonly advertiseUrl: string | undefined;
  readonly id: string | undefined;
  /** What fronts show; undefined: nothing. */
  readonly frontKey: string | undefined;
}

/**
 * @param listening.isLocal whether only this machine can reach where the server listens
 * @param listening.apiKeys keys of its clients
 * @throws {LatentmeshError} `invalid_config` that names the setting
 */
export function resolveCell(
  { cell = {} }: Config,
  { isLocal, apiKeys }: { readonly isLocal: boolean; readonly apiKeys: readonly string[] },
  env: (name: string) => string | undefined,
): CellSettings {
  const { registry, advertiseUrl, id } = cell;
  const frontKey = cell.frontKey === undefined ? undefined : resolveSecret(cell.frontKey, "cell.frontKey", env);
  if (frontKey !== undefined) checkFrontKey("cell.frontKey", frontKey, apiKeys);
  if (registry === undefined) {
    const idle = advertiseUrl !== undefined ? "cell.advertiseUrl" : id !== undefined ? "cell.id" : null;
    if (idle !== null) refuse(idle, "nobody is told of it; set cell.registry, or leave it out");
    return { registry, advertiseUrl, id, frontKey };
  }
  openRegistry(registry, "cell.registry");
  if (advertiseUrl === undefined && !isLocal) {
    refuse("cell.advertiseUrl", "it is not set; fronts must be told at which address they reach this server");
  }
  if (frontKey === undefined && apiKeys.length > 0) {
    refuse("cell.frontKey", "it is not set; this server asks for keys, and fronts need one of their own: env:NAME");
  }
  return { registry, advertiseUrl, id, frontKey };
}

/** @throws {LatentmeshError} `invalid_config` if no front can show such a key, or clients can */
export function checkFrontKey(param: string, key: string, apiKeys: readonly string[]): void {
  if (key.length < LEAST_SECRET) refuse(param, `it has ${key.length} characters; ${LEAST_SECRET} are the least`);
  if (!BEARER.test(key)) refuse(param, "it may hold letters, digits and . _ ~ + / - only");
  if (apiKeys.includes(key)) refuse(param, "it is a key of clients, too, who could call themselves fronts with it; give fronts one of their own");
}

/** The name under which fronts ask, where they reach this machine's loopback by another one. */
export function advertisedHost({ cell }: Config): string[] {
  return cell?.advertiseUrl === undefined ? [] : [new URL(cell.advertiseUrl).hostname];
}

function refuse(param: string, problem: string): never {
  throw new LatentmeshError("invalid_config", `Cannot use ${param}: ${problem}`, { param });
}
