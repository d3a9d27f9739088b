/**
 * Who may ask and how much, from what a server is set to.
 *
 * @module
 */
import type { AppOptions } from "./app.ts";
import type { ClientLimits } from "./guards.ts";

/** The part of a server's settings that is about it. */
export interface AccessSettings {
  readonly apiKeys: readonly string[];
  readonly maxBodyBytes: number | undefined;
  readonly allowedHosts: readonly string[] | undefined;
  readonly allowedOrigins: readonly string[];
  readonly limits: ClientLimits | undefined;
}

/** What an app is told of it. */
export function accessOf(
  { apiKeys, maxBodyBytes, allowedHosts, allowedOrigins, limits }: AccessSettings,
): Pick<AppOptions, "apiKeys" | "maxBodyBytes" | "origins" | "limits"> {
  return { apiKeys, maxBodyBytes, origins: { hosts: allowedHosts, origins: allowedOrigins }, limits };
}
