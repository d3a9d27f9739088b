/**
 * Certificates of links between hosts.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";

/** Certificate, key and authority: paths of PEM files, or their contents. */
export interface Tls {
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
}

/** Reads PEM files; workers get the contents, and need no permission to read them. @throws {LatentmeshError} `invalid_config` */
export function readTls(paths: Tls): Tls {
  const read = (name: keyof Tls): string | undefined => {
    const path = paths[name];
    if (path === undefined) return undefined;
    try {
      return Deno.readTextFileSync(path);
    } catch (cause) {
      throw new LatentmeshError("invalid_config", `Cannot read cluster.tls.${name}: ${messageOf(cause)}`, { param: `cluster.tls.${name}`, cause });
    }
  };
  return { cert: read("cert"), key: read("key"), ca: read("ca") };
}
