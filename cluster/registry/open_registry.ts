/**
 * From the name of a registry, as users write it, to the registry.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { CellRegistry } from "../../core/registry/registry.ts";
import { readEnv } from "../../core/env.ts";
import { FileRegistry } from "./file_registry.ts";
import { KubernetesRegistry } from "./kubernetes/kubernetes_registry.ts";
import { readKubernetesPlace } from "./kubernetes/place.ts";
import { findServiceAccount } from "./kubernetes/service_account.ts";
import { NatsRegistry } from "./nats_registry.ts";
import { REGISTRY_HELP } from "./registry_help.ts";

/** Where nothing else is said. */
const BUCKET = "latentmesh-cells";

/** Opens a registry; nothing is read yet. @throws {LatentmeshError} `invalid_config` if there is no such kind of registry */
export function openRegistry(name: string, param = "registry"): CellRegistry {
  const directory = /^file:(.+)$/.exec(name)?.[1];
  // As URLs have it, too: file:///srv/cells.
  if (directory !== undefined) return new FileRegistry(directory.replace(/^\/\/(?=\/)/, ""));
  const nats = /^((?:nats|tls):\/\/[^/]+)(?:\/([A-Za-z0-9_-]+))?\/?$/.exec(name);
  if (nats !== null) return openNats(nats[1], nats[2], param);
  const kubernetes = readKubernetesPlace(name, param);
  if (kubernetes !== null) return new KubernetesRegistry(kubernetes, () => findServiceAccount((variable) => Deno.env.get(variable)));
  throw new LatentmeshError("invalid_config", `Cannot use ${param}: "${withoutUser(name)}" is no registry; expected ${REGISTRY_HELP}`, { param });
}

/** @param addresses separated by commas, the first with its scheme */
function openNats(addresses: string, bucket = BUCKET, param: string): CellRegistry {
  const [first, ...others] = addresses.split(",");
  const scheme = first.slice(0, first.indexOf("//") + 2);
  const servers = [first, ...others.map((other) => other.includes("://") ? other : scheme + other)];
  const wrong = servers.find((server) => !URL.canParse(server));
  if (wrong !== undefined) {
    throw new LatentmeshError("invalid_config", `Cannot use ${param}: "${withoutUser(wrong)}" is no address; expected nats://HOST:PORT`, { param });
  }
  const env = (name: string) => Deno.env.get(name);
  return new NatsRegistry({ servers, bucket, credentials: readEnv("LATENTMESH_NATS_CREDS", env), ca: readEnv("LATENTMESH_NATS_CA", env) });
}

/** A name as logs may have it: a password in which something was not escaped is often what is wrong. */
function withoutUser(name: string): string {
  return name.replace(/\/\/.*@/s, "//…@");
}
