/**
 * Somebody with a cache that was empty, and a hub.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { HubClient } from "../../../cluster/hub/hub_client.ts";
import { parseHubName } from "../../../cluster/hub/hub_name.ts";
import { type PulledModel, pullModel, type PullOptions } from "../../../cluster/hub/pull.ts";
import { blobName, FakeHub, type FakeHubOptions, type PublishedModel } from "./fake_hub.ts";
import { neededOf } from "./models.ts";

/** Fetches models; disposing removes all. */
export class HubUser implements AsyncDisposable {
  readonly hub: FakeHub;
  readonly cache: string;
  /** Milliseconds that were waited before something was asked again, had there been time. */
  readonly pauses: number[] = [];

  readonly #silentMs: number;

  private constructor(hub: FakeHub, cache: string, silentMs: number) {
    this.hub = hub;
    this.cache = cache;
    this.#silentMs = silentMs;
  }

  /** @param silentMs milliseconds for which a server may say nothing; by default more than any says nothing on a busy machine */
  static async of(options: FakeHubOptions, { silentMs = 60_000 }: { readonly silentMs?: number } = {}): Promise<HubUser> {
    return new HubUser(new FakeHub(options), await Deno.makeTempDir(), silentMs);
  }

  /** Hardly waits. */
  client(
    { token = null, offline = false, endpoint = this.hub.endpoint }: { token?: string | null; offline?: boolean; endpoint?: string } = {},
  ): HubClient {
    const pause = (ms: number, signal: AbortSignal) => {
      this.pauses.push(ms);
      signal.throwIfAborted();
      // Others that hold a lock go on meanwhile.
      return new Promise<void>((resolve) => setTimeout(resolve, Math.min(ms, 1)));
    };
    return new HubClient({ endpoint, token, cache: this.cache, offline }, { silentMs: this.#silentMs, pause });
  }

  pull(name: string, options: PullOptions = {}, client: HubClient = this.client()): Promise<PulledModel> {
    return pullModel(parseHubName(name)!, client, options);
  }

  /** A path in the folder of a model. */
  path(repository: string, rest: string): string {
    return `${this.cache}/models--${repository.replace("/", "--")}/${rest}`;
  }

  /** Throws if a blob is not what its name says. @returns how many there are */
  async checkBlobs(repository: string): Promise<number> {
    let count = 0;
    for (const name of await namesIn(this.path(repository, "blobs"))) {
      if (name.endsWith(".incomplete")) continue;
      assertEquals(blobName(await Deno.readFile(this.path(repository, `blobs/${name}`))), name);
      count++;
    }
    return count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub[Symbol.asyncDispose]();
    await Deno.remove(this.cache, { recursive: true });
  }
}

/** Throws unless a snapshot holds what is needed of a model, and only that, as links to blobs. */
export async function assertWhole(directory: string, model: PublishedModel): Promise<void> {
  const there = await namesIn(directory);
  assertEquals(there, neededOf(model).sort());
  for (const name of there) {
    assertEquals(await Deno.readFile(`${directory}/${name}`), model.files.get(name), name);
    assertEquals(await Deno.readLink(`${directory}/${name}`), `../../blobs/${blobName(model.files.get(name)!)}`);
  }
}

/** Sorted; none if there is no such directory. */
export async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
