/**
 * The name of a registry in Kubernetes, as users write it: `kubernetes[:NAMESPACE][?LABEL=VALUE[&LABEL=VALUE]]`.
 *
 * @module
 */
import { LatentmeshError } from "../../../core/errors.ts";

/** Which records belong to a registry. */
export interface KubernetesPlace {
  /** Undefined: the one that the pod is in. */
  readonly namespace: string | undefined;
  /** Labels that cells give their records, and by which fronts choose them. */
  readonly labels: Readonly<Record<string, string>>;
}

/** A DNS label, as namespaces are called. */
const NAMESPACE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** A name of a label, with or without the domain of whoever defines it. */
const LABEL = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const VALUE = /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;

/**
 * Reads a name.
 *
 * @param param where it stands, for errors
 * @returns null if it names another kind of registry
 * @throws {LatentmeshError} `invalid_config` if the namespace or a label cannot be one
 */
export function readKubernetesPlace(name: string, param: string): KubernetesPlace | null {
  const parts = /^kubernetes(?::([^?]*))?(?:\?(.*))?$/.exec(name);
  if (parts === null) return null;
  const [, namespace, query] = parts;
  const refuse = (problem: string): never => {
    throw new LatentmeshError("invalid_config", `Cannot use ${param}: "${name}" ${problem}`, { param });
  };
  if (namespace !== undefined && !NAMESPACE.test(namespace)) {
    refuse(`names the namespace "${namespace}"; expected 1 to 63 small letters, digits and dashes`);
  }
  const labels: Record<string, string> = {};
  for (const part of query === undefined ? [] : query.split("&")) {
    const [, label, value] = /^([^=]*)=?(.*)$/.exec(part)!;
    if (!LABEL.test(label)) refuse(`names the label "${label}", which Kubernetes does not allow; expected ?LABEL=VALUE`);
    if (!part.includes("=") || !VALUE.test(value)) refuse(`has no value for the label "${label}" that Kubernetes allows; expected ?LABEL=VALUE`);
    labels[label] = value;
  }
  return { namespace, labels };
}

/** A place as users write it. */
export function writeKubernetesPlace({ namespace, labels }: KubernetesPlace): string {
  const query = Object.entries(labels).map(([label, value]) => `${label}=${value}`).join("&");
  return `kubernetes${namespace === undefined ? "" : `:${namespace}`}${query === "" ? "" : `?${query}`}`;
}
