/**
 * What an API server of Kubernetes does to an object before it keeps it: checks names, labels and times, merges patches (RFC 7386).
 *
 * @module
 */
import { z } from "zod";

const SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED =
  /^((?=[^/]{1,253}\/)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const VALUE = /^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;
/** As Go reads a MicroTime: six digits, no fewer. */
const microTime = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$/);
/** Bytes of all annotations of an object. */
const MOST_ANNOTATED = 256 << 10;

const owner = z.strictObject({
  apiVersion: z.string().min(1),
  kind: z.string().min(1),
  name: z.string().min(1),
  uid: z.string().min(1),
  controller: z.boolean().optional(),
  blockOwnerDeletion: z.boolean().optional(),
});

const lease = z.strictObject({
  apiVersion: z.literal("coordination.k8s.io/v1"),
  kind: z.literal("Lease"),
  metadata: z.strictObject({
    name: z.string().regex(SUBDOMAIN),
    namespace: z.string().optional(),
    uid: z.string().optional(),
    resourceVersion: z.string().optional(),
    creationTimestamp: z.string().optional(),
    labels: z.record(z.string().regex(QUALIFIED), z.string().regex(VALUE)).default({}),
    annotations: z.record(z.string().regex(QUALIFIED), z.string()).default({})
      .refine((all) => Object.entries(all).flat().reduce((sum, text) => sum + text.length, 0) <= MOST_ANNOTATED, "too long"),
    ownerReferences: z.array(owner).optional(),
  }),
  spec: z.strictObject({
    holderIdentity: z.string().min(1).optional(),
    leaseDurationSeconds: z.int().min(1).optional(),
    acquireTime: microTime.optional(),
    renewTime: microTime.optional(),
    leaseTransitions: z.int().min(0).optional(),
  }).default({}),
});

/** A Lease of coordination.k8s.io/v1. */
export type Lease = z.infer<typeof lease>;

/** Reads a Lease. @returns it, or what is wrong with it */
export function checkLease(object: unknown): Lease | string {
  const parsed = lease.safeParse(object);
  return parsed.success ? parsed.data : parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ");
}

/** RFC 7386. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const merged: Record<string, unknown> = typeof target === "object" && target !== null && !Array.isArray(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

/** Whether an object has what a selector of labels asks for (`a=b,c!=d,e,!f`). */
export function isSelected({ metadata: { labels } }: Lease, selector: string): boolean {
  return selector === "" || selector.split(",").every((part) => {
    const [, not, key, , operator, value] = /^(!?)([^=!]+)((=|==|!=)(.*))?$/.exec(part)!;
    if (operator === undefined) return (key in labels) !== (not === "!");
    return operator === "!=" ? labels[key] !== value : labels[key] === value;
  });
}
