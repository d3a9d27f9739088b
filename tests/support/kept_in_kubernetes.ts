/**
 * A registry at an API server of Kubernetes in memory, with an account as a pod has it.
 *
 * @module
 */
import { KubernetesRegistry, type KubernetesRegistryTimes } from "../../cluster/registry/kubernetes/kubernetes_registry.ts";
import { leaseName } from "../../cluster/registry/kubernetes/lease.ts";
import { readKubernetesPlace } from "../../cluster/registry/kubernetes/place.ts";
import type { ServiceAccount } from "../../cluster/registry/kubernetes/service_account.ts";
import { ROOT } from "../../bench/support/root.ts";
import { KubernetesApi } from "./kubernetes_api.ts";
import type { OpenRegistry, Outage } from "./registry_contract.ts";

const NAMESPACE = "inference";
const RECORD = "latentmesh/cell";

/** A server, an account, and a registry. */
export class KeptInKubernetes implements AsyncDisposable {
  readonly api: KubernetesApi;
  readonly account: ServiceAccount;
  readonly registry: KubernetesRegistry;
  readonly #times: KubernetesRegistryTimes;

  private constructor(api: KubernetesApi, directory: string, times: KubernetesRegistryTimes) {
    this.api = api;
    this.account = { server: `https://127.0.0.1:${this.api.port}`, directory, pod: { name: "cell-0", uid: "uid-of-cell-0" } };
    this.#times = { backOffMs: 20, ...times };
    this.registry = this.named("kubernetes");
  }

  static async open(times: KubernetesRegistryTimes): Promise<KeptInKubernetes> {
    const directory = await Deno.makeTempDir();
    await Deno.copyFile(`${ROOT}/tests/support/tls/cert.pem`, `${directory}/ca.crt`);
    await Deno.writeTextFile(`${directory}/namespace`, NAMESPACE);
    await Deno.writeTextFile(`${directory}/token`, "valid\n");
    return new KeptInKubernetes(await KubernetesApi.start(), directory, times);
  }

  /** The registry of a name, as users write it. */
  named(name: string, times: KubernetesRegistryTimes = this.#times): KubernetesRegistry {
    return new KubernetesRegistry(readKubernetesPlace(name, "registry")!, () => this.account, times);
  }

  records = () =>
    Promise.resolve(new Map(this.api.leases.map(({ metadata: { name, annotations } }) => [idOf(name, annotations[RECORD]), annotations[RECORD]])));

  keep = async (id: string, text: string) => {
    const name = await leaseName(id);
    let instance = "somebody";
    try {
      instance = JSON.parse(text).instance;
    } catch {
      // A record that is torn.
    }
    this.api.set(`${NAMESPACE}/${name}`, {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name, namespace: NAMESPACE, uid: `uid of ${name}`, labels: { "latentmesh/record": "cell" }, annotations: { [RECORD]: text } },
      spec: { holderIdentity: instance },
    });
  };

  readonly outage: Outage = {
    stop: () => this.api.stop(),
    startEmpty: async () => {
      this.api.lose();
      await this.api.start();
    },
  };

  /** As one of all kinds of registries. */
  static async openAny(times: KubernetesRegistryTimes): Promise<OpenRegistry> {
    const kept = await KeptInKubernetes.open(times);
    return {
      registry: (beatMs = times.beatMs) => kept.named("kubernetes", { ...kept.#times, beatMs }),
      write: kept.keep,
      read: async (id) => (await kept.records()).get(id) ?? null,
      outage: kept.outage,
      [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose](),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api[Symbol.asyncDispose]();
    await Deno.remove(this.account.directory, { recursive: true });
  }
}

/** What the record says, or else what its Lease is called after. */
function idOf(name: string, text: string): string {
  let id: unknown;
  try {
    ({ id } = JSON.parse(text));
  } catch {
    // It is torn.
  }
  return typeof id === "string" ? id : name.replace("latentmesh-cell-", "");
}
