/**
 * A registry in Kubernetes: one Lease (coordination.k8s.io/v1) for each cell, kept by its API server, written by cells and watched by fronts.
 *
 * @module
 */
import { LatentmeshError } from "../../../core/errors.ts";
import type { CellFacts, CellRegistry, CellWatch, Registration } from "../../../core/registry/registry.ts";
import { PolledWatch } from "../polled_watch.ts";
import { Registrar } from "../registrar.ts";
import { ApiClient, ApiError, describeApiError } from "./api_client.ts";
import { LeaseStore } from "./lease_store.ts";
import { type KubernetesPlace, writeKubernetesPlace } from "./place.ts";
import { readAccountFile, type ServiceAccount } from "./service_account.ts";
import { unreadable, WatchedLeases } from "./watched_leases.ts";

/** How often things happen, in milliseconds. */
export interface KubernetesRegistryTimes {
  /** Between two looks at what the watch has brought; default: 250. */
  readonly pollMs?: number;
  /** Between two writings of a record; default: 3000. */
  readonly beatMs?: number;
  /** Without a change after which a cell counts as gone; default: 10,000. */
  readonly ttlMs?: number;
  /** For which a watch may tell of nothing before it is doubted; default: twice as long as between two writings. */
  readonly silenceMs?: number;
  /** Before a request that has failed is made again; twice as long each time; default: 250. */
  readonly backOffMs?: number;
}

const POLL = 250;
/** Every writing goes through the consensus of etcd, to disk, and to all who watch: half as many of them as other registries have. */
const BEAT = 3000;
const TTL = 10_000;

/** Cells of a namespace. */
export class KubernetesRegistry implements CellRegistry {
  readonly name: string;
  readonly #place: KubernetesPlace;
  readonly #findAccount: () => ServiceAccount;
  readonly #times: KubernetesRegistryTimes;

  /** @param findAccount asked when the registry is used; throws a {@link LatentmeshError} if there is none */
  constructor(place: KubernetesPlace, findAccount: () => ServiceAccount, times: KubernetesRegistryTimes = {}) {
    this.name = writeKubernetesPlace(place);
    this.#place = place;
    this.#findAccount = findAccount;
    this.#times = times;
  }

  async register(facts: () => CellFacts, onLost: (problem: string) => void): Promise<Registration> {
    const { account, namespace, labels } = await this.#open();
    const { beatMs = BEAT, ttlMs = TTL } = this.#times;
    const api = new ApiClient(account);
    try {
      const store = new LeaseStore(api, { namespace, labels, pod: account.pod, ttlMs });
      const registrar = await Registrar.register(store, { name: this.name, facts, onLost, beatMs });
      const close = async () => {
        await registrar.close();
        api[Symbol.dispose]();
      };
      return { refresh: () => registrar.refresh(), close, [Symbol.asyncDispose]: close };
    } catch (error) {
      api[Symbol.dispose]();
      if (error instanceof LatentmeshError && !(error.cause instanceof ApiError)) throw error;
      const cause = error instanceof LatentmeshError ? error.cause : error;
      throw new LatentmeshError("capacity", `Cannot register at ${this.name}: ${describeApiError(cause)}`, { cause });
    }
  }

  async watch(onChange: () => void): Promise<CellWatch> {
    const { account, namespace, labels } = await this.#open();
    const { pollMs = POLL, beatMs = BEAT, ttlMs = TTL, silenceMs = 2 * beatMs, backOffMs } = this.#times;
    const api = new ApiClient(account);
    const leases = new WatchedLeases(api, { namespace, labels, silenceMs, backOffMs });
    const end = async () => {
      await leases.close();
      api[Symbol.dispose]();
    };
    try {
      await leases.begun;
      const list = async () => await Promise.resolve(leases.texts);
      const watch = await PolledWatch.start({ name: this.name, list, onChange, pollMs, ttlMs });
      const close = async () => {
        await watch.close();
        await end();
      };
      return {
        get cells() {
          return watch.cells;
        },
        get age() {
          return watch.age;
        },
        close,
        [Symbol.asyncDispose]: close,
      };
    } catch (error) {
      await end();
      throw unreadable(this.name, error);
    }
  }

  async #open(): Promise<{ readonly account: ServiceAccount; readonly namespace: string; readonly labels: KubernetesPlace["labels"] }> {
    const account = this.#findAccount();
    return { account, namespace: this.#place.namespace ?? await readAccountFile(account, "namespace"), labels: this.#place.labels };
  }
}
