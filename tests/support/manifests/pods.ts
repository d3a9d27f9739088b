/**
 * Pods of manifests, and what their containers are given.
 *
 * @module
 */
import type { KubernetesObject } from "./kustomize.ts";

/** Of a container, what tests look at. */
export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly env?: readonly Variable[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly lifecycle?: {
    readonly preStop: { readonly sleep?: { readonly seconds: number }; readonly exec?: { readonly command: readonly string[] } };
  };
  readonly resources: { readonly limits: Readonly<Record<string, string>>; readonly claims?: readonly { readonly name: string }[] };
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

interface Variable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly secretKeyRef?: { readonly name: string; readonly key: string; readonly optional?: boolean };
    readonly configMapKeyRef?: { readonly name: string; readonly key: string };
    readonly fieldRef?: { readonly fieldPath: string };
  };
}

/** Of a pod. */
export interface PodSpec {
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken: boolean;
  readonly terminationGracePeriodSeconds: number;
  readonly securityContext: { readonly runAsNonRoot: boolean; readonly runAsUser: number; readonly seccompProfile: { readonly type: string } };
  readonly resourceClaims?: readonly { readonly name: string; readonly resourceClaimTemplateName: string }[];
  readonly containers: readonly Container[];
  readonly volumes: readonly { readonly name: string }[];
}

/** A kind of pod. */
export interface Pod {
  /** Of the workload; the worker of a LeaderWorkerSet has `worker` behind it. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: PodSpec;
  /** The only one. */
  readonly container: Container;
}

interface Template {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly spec: PodSpec;
}

/** All kinds of pods, in order. */
export function podsOf(objects: readonly KubernetesObject[]): Pod[] {
  return objects.flatMap(({ kind, metadata: { name }, spec }) => {
    const pod = ({ metadata: { labels }, spec }: Template, suffix = ""): Pod => ({
      name: name + suffix,
      labels,
      spec,
      container: spec.containers[0],
    });
    if (kind === "Deployment") return [pod((spec as { template: Template }).template)];
    if (kind !== "LeaderWorkerSet") return [];
    const { leaderTemplate, workerTemplate } =
      (spec as { leaderWorkerTemplate: { leaderTemplate: Template; workerTemplate: Template } }).leaderWorkerTemplate;
    return [pod(leaderTemplate), pod(workerTemplate, " worker")];
  });
}

/** Keys of the secret `latentmesh`, as docs/fronts.md has it made. */
export const SECRET_KEYS = ["API_KEYS", "FRONT_KEY", "LATENTMESH_TOKEN"];

/** Where variables of a pod come from that its manifest has no value for; what is left out is empty. */
export interface VariableSources {
  /** Of the secret `latentmesh`. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** Of the pod, by path. */
  readonly fields?: Readonly<Record<string, string>>;
  /** What Kubernetes tells of itself in every pod, and LeaderWorkerSet in its own, before what a container says. */
  readonly given?: Readonly<Record<string, string>>;
}

const GIVEN = { KUBERNETES_SERVICE_HOST: "", KUBERNETES_SERVICE_PORT: "", LWS_LEADER_ADDRESS: "", LWS_GROUP_SIZE: "", LWS_WORKER_INDEX: "" };

/** Variables of a container. @throws if one comes from where it is not */
export function envOf(
  { env = [] }: Container,
  objects: readonly KubernetesObject[],
  { secrets = {}, fields = {}, given = GIVEN }: VariableSources = {},
): Record<string, string> {
  const all: Record<string, string> = { ...given };
  for (const { name, value, valueFrom } of env) {
    const { secretKeyRef, configMapKeyRef, fieldRef } = valueFrom ?? {};
    if (value !== undefined) all[name] = value;
    else if (fieldRef !== undefined) all[name] = fields[fieldRef.fieldPath] ?? "";
    else if (configMapKeyRef !== undefined) {
      const map = objects.find(({ kind, metadata }) => kind === "ConfigMap" && metadata.name === configMapKeyRef.name);
      const text = (map?.data as Record<string, string> | undefined)?.[configMapKeyRef.key];
      if (text === undefined) throw new Error(`${name}: there is no ${configMapKeyRef.key} in ${configMapKeyRef.name}`);
      all[name] = text;
    } else if (secretKeyRef?.name !== "latentmesh") throw new Error(`${name} comes from nowhere`);
    else if (SECRET_KEYS.includes(secretKeyRef.key)) all[name] = secrets[secretKeyRef.key] ?? "";
    else if (secretKeyRef.optional !== true) throw new Error(`there is no ${secretKeyRef.key} in the secret`);
  }
  return all;
}
