/**
 * What is said where a port cannot be had.
 *
 * @module
 */
import { messageOf } from "../../../core/errors.ts";

/** What keeps a server from listening on an address, and what to do. */
export function whyNotListening(cause: unknown): string {
  if (cause instanceof Deno.errors.AddrInUse) return "the port is in use; choose another with --port";
  if (cause instanceof Deno.errors.PermissionDenied) return "the system does not allow it, of most users below port 1024; choose another with --port";
  return messageOf(cause);
}
