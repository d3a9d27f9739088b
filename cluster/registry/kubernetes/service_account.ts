/**
 * Who a pod is to its API server. The token is one that is replaced while the pod runs, an hour before it would expire at the latest, and the certificate of who
 * signed the server's may change, too: both are read again whenever they are needed.
 *
 * @module
 */
import { readEnv } from "../../../core/env.ts";
import { LatentmeshError, messageOf } from "../../../core/errors.ts";

/** Where the kubelet mounts the account. */
const DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Who owns what a pod writes: it is removed with the pod. */
export interface OwningPod {
  readonly name: string;
  readonly uid: string;
}

/** A service account, as a pod has it. */
export interface ServiceAccount {
  /** Address of the API server. */
  readonly server: string;
  /** Has `token`, `ca.crt` and `namespace`. */
  readonly directory: string;
  /** Undefined: it is not known who writes. */
  readonly pod: OwningPod | undefined;
}

/**
 * The account of this pod.
 *
 * @param env looks a variable up
 * @throws {LatentmeshError} `invalid_config` outside of pods
 */
export function findServiceAccount(env: (name: string) => string | undefined): ServiceAccount {
  const host = readEnv("KUBERNETES_SERVICE_HOST", env);
  if (host === undefined) {
    throw new LatentmeshError(
      "invalid_config",
      "Cannot use a registry at kubernetes: KUBERNETES_SERVICE_HOST is not set, so that this is no pod; set it, with LATENTMESH_KUBE_ACCOUNT, or use another registry",
      { param: "KUBERNETES_SERVICE_HOST" },
    );
  }
  const [name, uid] = [readEnv("POD_NAME", env), readEnv("POD_UID", env)];
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${readEnv("KUBERNETES_SERVICE_PORT", env) ?? 443}`,
    directory: readEnv("LATENTMESH_KUBE_ACCOUNT", env) ?? DIRECTORY,
    pod: name === undefined || uid === undefined ? undefined : { name, uid },
  };
}

/** Reads one of an account's files. @throws {LatentmeshError} `invalid_config` if it is not there */
export async function readAccountFile({ directory }: ServiceAccount, name: "token" | "ca.crt" | "namespace"): Promise<string> {
  const path = `${directory}/${name}`;
  try {
    return (await Deno.readTextFile(path)).trim();
  } catch (cause) {
    throw new LatentmeshError(
      "invalid_config",
      `Cannot read ${path}: ${messageOf(cause)}; give the pod a service account (automountServiceAccountToken)`,
      { cause },
    );
  }
}
