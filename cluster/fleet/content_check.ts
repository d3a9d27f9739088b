/**
 * Whether other hosts' model files hold what this one's do, to the last byte. Their identity was compared before anything was loaded (`ClusterModel.checkWorker`); this
 * takes minutes and goes on while the cluster serves, once for each host.
 *
 * @module
 */
import { asLatentmeshError, LatentmeshError, messageOf } from "../../core/errors.ts";
import { firstDifference } from "../../core/model/contents.ts";
import type { Checkpoint } from "../../core/model/checkpoint.ts";
import { log } from "../logs/log.ts";
import type { Member } from "./unit.ts";

/** What a {@link ContentCheck} is given. */
export interface ContentCheckOptions {
  readonly checkpoint: Checkpoint;
  /** Digests of this host's files. */
  digest(): Promise<Uint8Array<ArrayBuffer>>;
  /** Ends all workers of a host. */
  refuse(host: string, reason: LatentmeshError): void;
}

/** Compares, and remembers. */
export class ContentCheck {
  readonly #options: ContentCheckOptions;
  /** Hosts that are being compared, or have been. */
  readonly #checks = new Map<string, Promise<void>>();
  /** Hosts that held something else once: they are used when they have been compared again. */
  readonly #suspects = new Set<string>();
  #own: Promise<Uint8Array<ArrayBuffer>> | null = null;

  constructor(options: ContentCheckOptions) {
    this.#options = options;
  }

  /** Before a worker loads: waits for its files to be compared if they differed before. @throws {LatentmeshError} `worker_lost` if they do again */
  async beforeLoading(member: Member): Promise<void> {
    if (!member.slot.remote || !this.#suspects.has(member.hello.host)) return;
    try {
      await this.#check(member);
    } catch (error) {
      throw new LatentmeshError("worker_lost", messageOf(error));
    }
  }

  /** When a worker has loaded: compares in the background, unless its host has been compared. */
  afterLoading(member: Member): void {
    if (!member.slot.remote) return;
    this.#check(member).catch((error) => {
      const { code } = asLatentmeshError(error);
      // Who is gone is asked no more; who differs has been named.
      if (code !== "worker_lost" && code !== "cancelled" && code !== "unauthorized") {
        log("warn", `cannot compare the weights of host ${member.hello.host}: ${messageOf(error)}`);
      }
    });
  }

  /** Resolves when nothing is read here any more. */
  async idle(): Promise<void> {
    await Promise.allSettled([this.#own]);
  }

  #check(member: Member): Promise<void> {
    const { host } = member.hello;
    const known = this.#checks.get(host);
    if (known !== undefined) return known;
    const check = this.#compare(member).catch((error) => {
      // Asked again of the host's next worker.
      this.#checks.delete(host);
      throw error;
    });
    this.#checks.set(host, check);
    return check;
  }

  async #compare({ client, hello: { host } }: Member): Promise<void> {
    const { checkpoint, digest, refuse } = this.#options;
    this.#own ??= digest();
    const [own, { payload }] = await Promise.all([this.#own, client.call("digest", {}, "digests")]);
    const tensor = firstDifference(checkpoint, own, payload);
    if (tensor === null) {
      this.#suspects.delete(host);
      return log("info", `checked the weights of host ${host}: they are the same as here`);
    }
    this.#suspects.add(host);
    const reason = new LatentmeshError("unauthorized", `Host ${host} has other weights: "${tensor}" differs; copy the model`);
    log("error", reason.message);
    refuse(host, reason);
    throw reason;
  }
}
