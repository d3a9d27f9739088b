/**
 * From the name of a registry, as users write it, to the registry.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { CellRegistry } from "../../core/registry/registry.ts";
import { FileRegistry } from "./file_registry.ts";

/** What `--help` says of names. */
export const REGISTRY_HELP = "file:DIRECTORY, on a disk that all hosts share";

/** Opens a registry; nothing is read yet. @throws {LatentmeshError} `invalid_config` if there is no such kind of registry */
export function openRegistry(name: string, param = "registry"): CellRegistry {
  const directory = /^file:(.+)$/.exec(name)?.[1];
  // As URLs have it, too: file:///srv/cells.
  if (directory !== undefined) return new FileRegistry(directory.replace(/^\/\/(?=\/)/, ""));
  throw new LatentmeshError("invalid_config", `Cannot use ${param}: "${name}" is no registry; expected ${REGISTRY_HELP}`, { param });
}
