/**
 * A cell's record as an object of Kubernetes: a Lease (coordination.k8s.io/v1) with the record in an annotation. What a Lease says by itself (who holds it, and until
 * when) is for people and their tools: readers go by whether the record changes, as everywhere.
 *
 * @module
 */
import { z } from "zod";
import { sha256 } from "../../../core/model/model_hash.ts";
import type { OwningPod } from "./service_account.ts";

/** Label that all records have, and nothing else. */
export const RECORD_LABEL = { "latentmesh/record": "cell" } as const;
/** Annotation that holds the text of a record. */
const ANNOTATION = "latentmesh/cell";
const PREFIX = "latentmesh-cell-";
/** DNS subdomains, as most objects are called. */
const SUBDOMAIN = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

const schema = z.object({
  metadata: z.object({
    name: z.string(),
    resourceVersion: z.string(),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.object({ holderIdentity: z.string().nullish() }).nullish(),
});

const listSchema = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  // Kubernetes writes lists of nothing so, too.
  items: z.array(schema).nullish(),
});

/** What is read of a Lease. */
export interface SeenLease {
  readonly name: string;
  readonly version: string;
  /** The instance that has written it. */
  readonly holder: string | null;
  /** Of the record; empty where there is none. */
  readonly text: string;
}

/** Reads a Lease. @throws if it is none */
export function readLease(object: unknown): SeenLease {
  return seen(schema.parse(object));
}

/** Reads a page of a list. @throws if it is none */
export function readLeaseList(object: unknown): { readonly leases: SeenLease[]; readonly version: string; readonly next: string | undefined } {
  const { metadata, items } = listSchema.parse(object);
  return { leases: (items ?? []).map(seen), version: metadata.resourceVersion, next: metadata.continue || undefined };
}

function seen({ metadata: { name, resourceVersion, annotations }, spec }: z.infer<typeof schema>): SeenLease {
  return { name, version: resourceVersion, holder: spec?.holderIdentity ?? null, text: annotations?.[ANNOTATION] ?? "" };
}

/** Path of the Leases of a namespace. */
export function leasesPath(namespace: string): string {
  return `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
}

/**
 * What a cell's Lease is called. Ids may have letters and dashes where Kubernetes allows none: those are named by a hash, as two of them might look alike otherwise.
 */
export async function leaseName(id: string): Promise<string> {
  const name = PREFIX + id;
  // What looks as if it had a hash gets one.
  if (SUBDOMAIN.test(name) && !/-[0-9a-f]{16}$/.test(id)) return name;
  const plain = id.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 30).replace(/-$/, "");
  return `${PREFIX}${plain}-${(await sha256(new TextEncoder().encode(id))).slice(0, 16)}`;
}

/** What is written of a Lease. */
export interface WrittenLease {
  readonly name: string;
  readonly text: string;
  /** The instance that writes. */
  readonly holder: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly pod: OwningPod | undefined;
  /** Milliseconds without a change after which readers take the cell for gone. */
  readonly ttlMs: number;
  /** The version that it replaces; null: there is none. */
  readonly version: string | null;
}

/** A Lease as it is created, or as a merge patch (RFC 7386) that fails if the version is another by then. */
export function writeLease({ name, text, holder, labels, pod, ttlMs, version }: WrittenLease): object {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: {
      name,
      ...version === null ? {} : { resourceVersion: version },
      labels: { "app.kubernetes.io/managed-by": "latentmesh", ...labels, ...RECORD_LABEL },
      annotations: { [ANNOTATION]: text },
      ...pod === undefined ? {} : { ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: pod.name, uid: pod.uid }] },
    },
    spec: {
      holderIdentity: holder,
      leaseDurationSeconds: Math.max(1, Math.ceil(ttlMs / 1000)),
      // Of this host's clock, in microseconds.
      renewTime: new Date().toISOString().replace(/Z$/, "000Z"),
    },
  };
}
