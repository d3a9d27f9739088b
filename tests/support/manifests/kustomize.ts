/**
 * What of kustomize the manifests in `deploy/kubernetes` use: resources, namespace, tags of images, and JSON patches (RFC 6902). Whatever else a kustomization has is
 * refused, as what nobody has tested.
 *
 * @module
 */
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";

/** An object of Kubernetes, of whichever kind. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Readonly<Record<string, string>> };
  readonly [field: string]: unknown;
}

const operation = z.discriminatedUnion("op", [
  z.strictObject({ op: z.enum(["add", "replace"]), path: z.string().startsWith("/"), value: z.unknown() }),
  z.strictObject({ op: z.literal("remove"), path: z.string().startsWith("/") }),
]);

const kustomization = z.strictObject({
  apiVersion: z.literal("kustomize.config.k8s.io/v1beta1"),
  kind: z.literal("Kustomization"),
  namespace: z.string().optional(),
  resources: z.array(z.string()),
  images: z.array(z.strictObject({ name: z.string(), newName: z.string().optional(), newTag: z.string() })).default([]),
  patches: z.array(z.strictObject({ target: z.strictObject({ kind: z.string(), name: z.string() }), patch: z.string() })).default([]),
});

/** Kinds that are in no namespace. */
const CLUSTER_WIDE = new Set(["Namespace", "ClusterRole", "ClusterRoleBinding"]);

/** What a directory with a `kustomization.yaml` comes to. @throws if it has what is not supported, or a patch does not fit */
export async function kustomize(directory: string): Promise<KubernetesObject[]> {
  const { namespace, resources, images, patches } = kustomization.parse(parse(await Deno.readTextFile(`${directory}/kustomization.yaml`)));
  const objects: KubernetesObject[] = [];
  for (const resource of resources) {
    const path = `${directory}/${resource}`;
    if ((await Deno.stat(path)).isDirectory) objects.push(...await kustomize(path));
    else objects.push(...await readManifests(path));
  }
  for (const { target, patch } of patches) {
    const chosen = objects.filter(({ kind, metadata: { name } }) => kind === target.kind && name === target.name);
    if (chosen.length !== 1) throw new Error(`${directory}: the patch of ${target.kind} ${target.name} fits ${chosen.length} objects`);
    for (const step of z.array(operation).parse(parse(patch))) applyOperation(chosen[0], step);
  }
  for (const object of objects) {
    if (namespace !== undefined && !CLUSTER_WIDE.has(object.kind)) setNamespace(object, namespace);
    for (const image of images) retag(object, image);
  }
  return objects;
}

/** Objects of a file. @throws if it is no YAML, or an object has no name */
export async function readManifests(path: string): Promise<KubernetesObject[]> {
  return parseAllDocuments(await Deno.readTextFile(path), { merge: true }).map((document) => {
    if (document.errors.length > 0) throw new Error(`${path}: ${document.errors[0].message}`);
    // Aliases are copied, so that a patch changes one place.
    const object = JSON.parse(JSON.stringify(document.toJS()));
    if (typeof object?.kind !== "string" || typeof object.metadata?.name !== "string") throw new Error(`${path}: an object has no kind or no name`);
    return object;
  });
}

function applyOperation(object: unknown, step: z.infer<typeof operation>): void {
  const keys = step.path.slice(1).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  const last = keys.pop()!;
  const fail = () => new Error(`${step.op} ${step.path} fits nothing`);
  // deno-lint-ignore no-explicit-any
  let place = object as any;
  for (const key of keys) {
    place = place?.[key];
    if (typeof place !== "object" || place === null) throw fail();
  }
  if (Array.isArray(place)) {
    if (step.op === "add" && last === "-") place.push(step.value);
    else throw fail();
  } else if (step.op === "add") place[last] = step.value;
  else if (!(last in place)) throw fail();
  else if (step.op === "replace") place[last] = step.value;
  else delete place[last];
}

// deno-lint-ignore no-explicit-any
function setNamespace(object: any, namespace: string): void {
  object.metadata.namespace = namespace;
  if (object.kind === "RoleBinding") { for (const subject of object.subjects) if (subject.kind === "ServiceAccount") subject.namespace = namespace; }
}

/** Of containers, wherever they are. */
function retag(value: unknown, image: { readonly name: string; readonly newName?: string; readonly newTag: string }): void {
  if (typeof value !== "object" || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if (key === "containers" || key === "initContainers") {
      for (const container of inner as { image: string }[]) {
        if (container.image.replace(/:[^:/]*$/, "") === image.name) container.image = `${image.newName ?? image.name}:${image.newTag}`;
      }
    }
    retag(inner, image);
  }
}
