/**
 * Settings of a front, which has no configuration file.
 *
 * @module
 */
import { resolveSecret } from "../../core/env.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { checkFrontKey } from "./cell_settings.ts";
import { inFlags } from "./flag_settings.ts";
import type { ServerFlags } from "./flags.ts";
import { resolveSettings, type Settings } from "./settings.ts";

/** Flags of the command, as commander names them. */
export interface FrontFlags extends Pick<ServerFlags, "host" | "port" | "apiKey" | "allowedOrigin" | "insecure" | "shutdownTimeout"> {
  readonly registry: string;
  readonly cellKey?: string;
  readonly cellCa?: string;
  readonly concurrent?: number;
  readonly requestsPerMinute?: number;
}

/** Where it listens, unless somebody says otherwise: not where a cell does, since one machine may have both. */
export const DEFAULT_FRONT_PORT = 8000;

/** What a server is told of where it listens and of its clients, which is the same for a front; and what cells know it by. */
export type FrontSettings =
  & Pick<Settings, "host" | "port" | "connections" | "apiKeys" | "allowedHosts" | "allowedOrigins" | "limits" | "shutdownTimeout">
  & { readonly cellKey: string | undefined };

/** Flags over defaults. @throws {LatentmeshError} `invalid_config` that names the setting */
export function resolveFront(flags: FrontFlags, env: (name: string) => string | undefined): FrontSettings {
  const { host, port, apiKey, allowedOrigin, insecure, shutdownTimeout, concurrent, requestsPerMinute } = flags;
  const server = {
    host,
    port: port ?? DEFAULT_FRONT_PORT,
    apiKeys: apiKey && [...apiKey],
    allowedOrigins: allowedOrigin && [...allowedOrigin],
    shutdownTimeout,
    limits: concurrent === undefined && requestsPerMinute === undefined ? undefined : { concurrent, requestsPerMinute },
  };
  const settings = named(() => resolveSettings({ server, cluster: { insecure } }, {}, env));
  const cellKey = flags.cellKey === undefined ? undefined : resolveSecret(flags.cellKey, "--cell-key", env);
  if (cellKey !== undefined) checkFrontKey("--cell-key", cellKey, settings.apiKeys);
  return { ...settings, cellKey };
}

/** A front has flags alone. */
function named<T>(resolve: () => T): T {
  try {
    return resolve();
  } catch (error) {
    if (!(error instanceof LatentmeshError)) throw error;
    const param = error.param === undefined ? undefined : inFlags(error.param);
    throw new LatentmeshError(error.code, inFlags(error.message), { param, cause: error });
  }
}
