/**
 * Objects of Kubernetes that `deploy/kubernetes` has, as types: of Kubernetes' own from its OpenAPI (`kubernetes-models`), and of LeaderWorkerSet as its API describes it
 * (leaderworkerset.x-k8s.io/v1). A literal that has a field which they do not know, or lacks one, does not compile.
 *
 * @module
 */
import type { IDeployment } from "npm:kubernetes-models@5.1.0/apps/v1/Deployment";
import type { IHorizontalPodAutoscaler } from "npm:kubernetes-models@5.1.0/autoscaling/v2/HorizontalPodAutoscaler";
import type { INetworkPolicy } from "npm:kubernetes-models@5.1.0/networking.k8s.io/v1/NetworkPolicy";
import type { IPodDisruptionBudget } from "npm:kubernetes-models@5.1.0/policy/v1/PodDisruptionBudget";
import type { IResourceClaimTemplate } from "npm:kubernetes-models@5.1.0/resource.k8s.io/v1/ResourceClaimTemplate";
import type { IRole } from "npm:kubernetes-models@5.1.0/rbac.authorization.k8s.io/v1/Role";
import type { IRoleBinding } from "npm:kubernetes-models@5.1.0/rbac.authorization.k8s.io/v1/RoleBinding";
import type { IConfigMap } from "npm:kubernetes-models@5.1.0/v1/ConfigMap";
import type { INamespace } from "npm:kubernetes-models@5.1.0/v1/Namespace";
import type { IPersistentVolumeClaim } from "npm:kubernetes-models@5.1.0/v1/PersistentVolumeClaim";
import type { IPodTemplate } from "npm:kubernetes-models@5.1.0/v1/PodTemplate";
import type { IService } from "npm:kubernetes-models@5.1.0/v1/Service";
import type { IServiceAccount } from "npm:kubernetes-models@5.1.0/v1/ServiceAccount";

/** What a workload makes pods of. */
export type PodTemplate = NonNullable<IPodTemplate["template"]>;

/** Groups of pods that are made, replaced and scaled as one. */
export interface LeaderWorkerSet {
  readonly apiVersion: "leaderworkerset.x-k8s.io/v1";
  readonly kind: "LeaderWorkerSet";
  readonly metadata: IDeployment["metadata"];
  readonly spec: {
    readonly replicas?: number;
    readonly startupPolicy?: "LeaderCreated" | "LeaderReady";
    readonly networkConfig?: { readonly subdomainPolicy: "Shared" | "UniquePerReplica" };
    readonly rolloutStrategy?: {
      readonly type: "RollingUpdate";
      readonly rollingUpdateConfiguration?: {
        readonly partition?: number;
        readonly maxUnavailable?: number | string;
        readonly maxSurge?: number | string;
      };
    };
    readonly leaderWorkerTemplate: {
      readonly size?: number;
      readonly restartPolicy?: "RecreateGroupOnPodRestart" | "RecreateGroupAfterStart" | "None";
      readonly subGroupPolicy?: { readonly subGroupPolicyType?: "LeaderWorker" | "LeaderExcluded"; readonly subGroupSize?: number };
      readonly leaderTemplate?: PodTemplate;
      readonly workerTemplate: PodTemplate;
      readonly volumeClaimTemplates?: IPersistentVolumeClaim[];
    };
  };
}

/** Any of them. */
export type Manifest =
  | IConfigMap
  | IDeployment
  | IHorizontalPodAutoscaler
  | INamespace
  | INetworkPolicy
  | IPodDisruptionBudget
  | IResourceClaimTemplate
  | IRole
  | IRoleBinding
  | IService
  | IServiceAccount
  | LeaderWorkerSet;
