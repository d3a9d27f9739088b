/**
 * How many connections a server can have.
 *
 * @module
 */
import type { ConnectionLimits } from "../../../core/net/connection_limiter.ts";

/** Most connections where nothing says otherwise. */
const MOST = 4096;
/** Descriptors that everything else may need: workers, models, pipes. */
const RESERVED = 320;

/**
 * @param configured what the configuration says
 * @param descriptors files and sockets that this process may have open; undefined: it cannot be told
 */
export function connectionLimits(
  configured: { readonly total?: number; readonly perAddress?: number },
  descriptors: number | undefined,
): ConnectionLimits {
  const room = descriptors === undefined ? MOST : Math.max(Math.floor(descriptors / 4), descriptors - RESERVED);
  const total = Math.max(1, Math.min(configured.total ?? MOST, room));
  return { total, perAddress: Math.min(total, configured.perAddress ?? Math.ceil(total / 2)) };
}

/** Descriptors that this process may have open; undefined where that cannot be told. */
export async function openFilesLimit(): Promise<number | undefined> {
  try {
    const { stdout } = await new Deno.Command("sh", { args: ["-c", "ulimit -n"], stdout: "piped", stderr: "null" }).output();
    const limit = Number(new TextDecoder().decode(stdout).trim());
    return Number.isInteger(limit) && limit > 0 ? limit : undefined;
  } catch {
    return undefined;
  }
}
