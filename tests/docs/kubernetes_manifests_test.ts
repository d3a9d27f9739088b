/**
 * `deploy/kubernetes`: what kustomize makes of it has the form that Kubernetes' API takes, and its parts fit each other and the program. (No cluster runs it in these
 * tests; `tests/e2e/kubernetes_pods_test.ts` runs the commands of its pods.)
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { parse, parseAllDocuments } from "yaml";
import { checkConfig } from "../../cluster/config/config.ts";
import { resolveSettings } from "../../cluster/config/settings.ts";
import { assertCommand } from "../support/docs/command_lines.ts";
import { ROOT } from "../../bench/support/root.ts";
import { problemsOf } from "../support/manifests/compile.ts";
import { type KubernetesObject, kustomize } from "../support/manifests/kustomize.ts";
import { envOf, podsOf } from "../support/manifests/pods.ts";
import { selects } from "../support/manifests/selectors.ts";

const DIRECTORY = `${ROOT}/deploy/kubernetes`;
const OVERLAYS = ["cpu", "gpu", "gpu-dra"];
const KUBECTL = await new Deno.Command("kubectl", { args: ["version", "--client"], stdout: "null", stderr: "null" }).output().then(
  ({ success }) => success,
  () => false,
);

const rendered = new Map(await Promise.all(OVERLAYS.map(async (name) => [name, await kustomize(`${DIRECTORY}/overlays/${name}`)] as const)));

// deno-lint-ignore no-explicit-any
type Loose = any;
const find = (objects: readonly KubernetesObject[], kind: string, name: string): Loose => {
  const found = objects.find((object) => object.kind === kind && object.metadata.name === name);
  assert(found !== undefined, `there is no ${kind} ${name}`);
  return found;
};

describe("deploy/kubernetes", () => {
  (KUBECTL ? it : it.skip)("is to kustomize what it is to these tests", async () => {
    const sorted = (objects: readonly KubernetesObject[]) =>
      objects.toSorted((a, b) => `${a.kind} ${a.metadata.name}` < `${b.kind} ${b.metadata.name}` ? -1 : 1);
    for (const [name, objects] of rendered) {
      const { success, stdout, stderr } = await new Deno.Command("kubectl", { args: ["kustomize", `${DIRECTORY}/overlays/${name}`] }).output();
      assert(success, new TextDecoder().decode(stderr));
      const theirs = parseAllDocuments(new TextDecoder().decode(stdout)).map((document) => document.toJS() as KubernetesObject);
      assertEquals(sorted(theirs), sorted(objects), name);
    }
  });

  it("has objects of the form that Kubernetes takes, without a field that it does not know", async () => {
    const different = new Map([...rendered.values()].flat().map((object) => [JSON.stringify(object), object]));
    assertEquals(await problemsOf([...different.values()]), null);
    // The check itself is none if it lets these pass.
    const wrong = await kustomize(`${DIRECTORY}/overlays/gpu-dra`);
    const set = find(wrong, "LeaderWorkerSet", "latentmesh-cell").spec.leaderWorkerTemplate;
    set.leaderTemplate.spec.containers[0].readinessProbe.periodSecond = 3;
    set.workerTemplate.spec.terminationGracePeriodSeconds = "80";
    find(wrong, "Role", "latentmesh-front").rules[0].resource = ["leases"];
    delete find(wrong, "Deployment", "latentmesh-front").spec.selector;
    find(wrong, "ResourceClaimTemplate", "latentmesh-gpu").spec.spec.devices.requests[0].deviceClassName = "gpu.nvidia.com";
    const problems = (await problemsOf(wrong))!;
    for (const name of ["periodSecond", "terminationGracePeriodSeconds", `"resource"`, "selector", "deviceClassName"]) {
      assertStringIncludes(problems, name);
    }
  });

  it("is read by a kustomize that refuses what it does not know", async () => {
    const directory = await Deno.makeTempDir();
    try {
      const write = (more: object) =>
        Deno.writeTextFile(
          `${directory}/kustomization.yaml`,
          JSON.stringify({ apiVersion: "kustomize.config.k8s.io/v1beta1", kind: "Kustomization", ...more }),
        );
      await Deno.writeTextFile(`${directory}/a.yaml`, "{ apiVersion: v1, kind: ConfigMap, metadata: { name: a }, data: { x: y } }");
      const target = { kind: "ConfigMap", name: "a" };
      for (
        const more of [
          { resources: ["a.yaml"], namePrefix: "x" },
          { resources: ["a.yaml"], patches: [{ target, patch: "[{ op: replace, path: /data/z, value: 1 }]" }] },
          { resources: ["a.yaml"], patches: [{ target: { ...target, name: "b" }, patch: "[]" }] },
          { resources: ["a.yaml"], patches: [{ target, patch: "[{ op: test, path: /data/x, value: y }]" }] },
        ]
      ) {
        await write(more);
        await assertRejects(() => kustomize(directory));
      }
      await write({ resources: ["a.yaml"], patches: [{ target, patch: "[{ op: add, path: /data/a~1b, value: c }]" }] });
      assertEquals((await kustomize(directory))[0].data, { x: "y", "a/b": "c" });
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });

  it("has pods whose commands, files and variables exist", () => {
    for (const [overlay, objects] of rendered) {
      for (const { name, spec, container } of podsOf(objects)) {
        const what = `${overlay}: ${name}`;
        assertCommand(container.args);
        assert(/^latentmesh:\d+\.\d+\.\d+$/.test(container.image), what);
        const env = envOf(container, objects);
        for (const arg of container.args) {
          if (arg.startsWith("env:")) assert(arg.slice(4) in env, `${what} is not given ${arg}`);
          for (const [, variable] of arg.matchAll(/\$\((\w+)\)/g)) assert(variable in env, `${what} is not given ${variable}`);
          if (arg.startsWith("/etc/")) {
            assert(container.volumeMounts.some(({ mountPath }) => arg.startsWith(`${mountPath}/`)), `${what}: ${arg} is mounted nowhere`);
          }
        }
        assertEquals(
          container.volumeMounts.map((mount) => mount.name).toSorted(),
          spec.volumes.map((volume) => volume.name).toSorted(),
          `${what}: volumes`,
        );
      }
    }
  });

  it("has cells whose configuration can be used, with a host for each pod", () => {
    for (const [overlay, objects] of rendered) {
      const { data } = find(objects, "ConfigMap", "latentmesh-cell");
      const { spec: { leaderWorkerTemplate: { size } } } = find(objects, "LeaderWorkerSet", "latentmesh-cell");
      const file = checkConfig(parse(data["cluster.yaml"]), overlay);
      assertEquals(
        file.cluster!.hosts!.map(({ name, join }) => [name, join]),
        Array.from({ length: size }, (_, i) => [`worker-${i}`, i > 0 ? true : undefined]),
      );
      const flags = { model: data.model, cluster: { listen: "latentmesh-cell-0.latentmesh-cell.latentmesh:7000" } };
      const settings = resolveSettings(flags, file, (name) => name === "LATENTMESH_TOKEN" ? "a secret that is long enough" : undefined);
      assertEquals(settings.cluster.listen, "wss://latentmesh-cell-0.latentmesh-cell.latentmesh:7000");
    }
  });

  it("has GPUs where it should", () => {
    for (const [overlay, objects] of rendered) {
      const cells = podsOf(objects).filter(({ name }) => name.startsWith("latentmesh-cell"));
      assertEquals(cells.length, 2);
      for (const { spec, container: { resources } } of cells) {
        assertEquals(resources.limits["nvidia.com/gpu"], overlay === "gpu" ? "1" : undefined);
        assertEquals(resources.claims, overlay === "gpu-dra" ? [{ name: "gpu" }] : undefined);
        for (const { resourceClaimTemplateName } of spec.resourceClaims ?? []) find(objects, "ResourceClaimTemplate", resourceClaimTemplateName);
      }
    }
  });

  it("has pods that a namespace with restricted security lets in", () => {
    const objects = rendered.get("gpu")!;
    assertEquals(find(objects, "Namespace", "latentmesh").metadata.labels["pod-security.kubernetes.io/enforce"], "restricted");
    for (const { name, spec, container } of podsOf(objects)) {
      const { runAsNonRoot, runAsUser, seccompProfile } = spec.securityContext;
      assert(runAsNonRoot && runAsUser > 0 && seccompProfile.type === "RuntimeDefault", name);
      const { allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities } = container.securityContext;
      assertEquals([allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities], [false, true, { drop: ["ALL"] }], name);
      for (const volume of spec.volumes) assert("emptyDir" in volume || "secret" in volume || "configMap" in volume, `${name}: ${volume.name}`);
    }
  });

  it("asks about health where it is told, and gives what runs the time that it is promised", () => {
    for (const { name, spec, container } of podsOf(rendered.get("gpu")!)) {
      const { args, ports = [], startupProbe, livenessProbe, readinessProbe, lifecycle } = container;
      if (args[0] === "worker") {
        assertEquals([startupProbe, livenessProbe, readinessProbe, ports], [undefined, undefined, undefined, []]);
        continue;
      }
      assertEquals([startupProbe, livenessProbe, readinessProbe].map((probe) => probe!.httpGet.path), ["/healthz", "/healthz", "/readyz"], name);
      for (const probe of [startupProbe, livenessProbe, readinessProbe]) assert(ports.some((port) => port.name === probe!.httpGet.port));
      assertEquals(ports[0].containerPort, args[0] === "front" ? 8000 : 8080);
      const promised = Number(args[args.indexOf("--shutdown-timeout") + 1]) + (lifecycle?.preStop.sleep?.seconds ?? 1);
      assert(spec.terminationGracePeriodSeconds >= promised + 5, `${name} has ${spec.terminationGracePeriodSeconds} s of ${promised}`);
    }
    // A worker may have to wait for its coordinator.
    const [leader, worker] = podsOf(rendered.get("gpu")!).filter(({ name }) => name.startsWith("latentmesh-cell")).map(({ spec }) => spec);
    assert(worker.terminationGracePeriodSeconds > leader.terminationGracePeriodSeconds);
  });

  it("has selectors that find what they are for, and rights that are given to those who are there", () => {
    for (const objects of rendered.values()) {
      const pods = podsOf(objects);
      const chosen = (selector: Loose) => pods.filter(({ labels }) => selects(selector, labels)).map(({ name }) => name).toSorted();
      const [front, cell, worker] = ["latentmesh-front", "latentmesh-cell", "latentmesh-cell worker"];
      assertEquals(chosen({ matchLabels: find(objects, "Service", front).spec.selector }), [front]);
      for (const name of [front]) {
        assertEquals(chosen(find(objects, "Deployment", name).spec.selector), [name]);
        assertEquals(chosen(find(objects, "PodDisruptionBudget", name).spec.selector), [name]);
        find(objects, "Deployment", find(objects, "HorizontalPodAutoscaler", name).spec.scaleTargetRef.name);
      }
      assertEquals(chosen(find(objects, "PodDisruptionBudget", cell).spec.selector), [cell, worker]);
      const policy = (name: string) => find(objects, "NetworkPolicy", name).spec;
      assertEquals(chosen(policy("latentmesh-deny").podSelector), [cell, worker, front]);
      assertEquals(chosen(policy("latentmesh-all").podSelector), [cell, worker, front]);
      assertEquals(chosen(policy(front).podSelector), [front]);
      assertEquals(chosen(policy(front).egress[0].to[0].podSelector), [cell], "fronts reach cells");
      assertEquals(chosen(policy(cell).podSelector), [cell, worker]);
      assertEquals(chosen(policy(cell).ingress[0].from[0].podSelector), [front]);
      for (const rules of [policy(cell).ingress[1].from, policy(cell).egress[0].to]) assertEquals(chosen(rules[0].podSelector), [cell, worker]);
      for (const { name, spec } of pods) {
        assertEquals(spec.automountServiceAccountToken, name !== worker, name);
        if (name !== worker) assertEquals(find(objects, "RoleBinding", spec.serviceAccountName!).subjects.map((one: Loose) => one.name), [name]);
      }
      const verbsOf = (name: string) =>
        find(objects, "Role", name).rules.map(({ apiGroups, resources, verbs }: Loose) => [apiGroups, resources, verbs]);
      // As tests/cluster/registry/kubernetes_registry_test.ts shows, less is not enough.
      assertEquals(verbsOf(front), [[["coordination.k8s.io"], ["leases"], ["list", "watch"]]]);
      assertEquals(verbsOf(cell), [[["coordination.k8s.io"], ["leases"], ["get", "create", "patch", "delete"]]]);
    }
  });
});
