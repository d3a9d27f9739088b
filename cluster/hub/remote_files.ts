/**
 * A model whose weights are on a hub only, read as far as a plan needs it: texts whole, of weights the headers.
 *
 * @module
 */
import { invariant, LatentmeshError } from "../../core/errors.ts";
import { mapLimited } from "../../core/limited.ts";
import { INDEX_FILE, type ModelFiles } from "../../core/model/checkpoint.ts";
import type { ByteSource } from "../../core/model/safetensors.ts";
import { areFile } from "./file_hash.ts";
import { fetchRange } from "./fetch_range.ts";
import type { HubClient } from "./hub_client.ts";
import { formatHubName, type HubName, parseHubName } from "./hub_name.ts";
import { type HubFile, type HubListing, listFiles } from "./listing.ts";
import { smallFiles, weightFiles } from "./needed_files.ts";

/** Bytes of each file that are fetched ahead: most headers are shorter. */
const HEAD = 100_000;

/** Files whose beginnings are fetched at a time. */
const HEADS_AT_ONCE = 8;

/** What settings call a model that is read from where it is. */
export function remoteName({ repository }: HubName, commit: string): string {
  return `hf:${repository}@${commit}`;
}

/** Whether settings say so. */
export function isRemote(model: string): boolean {
  return model.startsWith("hf:");
}

/** Those that this process has looked at: a plan opens a model several times. */
const known = new Map<string, RemoteFiles>();

/** Reads a model from where it is. @param name as {@link remoteName} has it */
export function openRemote(name: string, client: HubClient): RemoteFiles {
  const files = known.get(name) ?? new RemoteFiles(name, client);
  known.set(name, files);
  return files;
}

/** Files that {@link openRemote} has opened before. @throws {LatentmeshError} `internal` if it has not */
export function remoteFiles(name: string): RemoteFiles {
  const files = known.get(name);
  invariant(files !== undefined, `${name} is not here, and not looked at on a hub`);
  return files;
}

/** Files of one commit of a model; what was fetched of them is kept. */
class RemoteFiles implements ModelFiles, Disposable {
  readonly name: string;
  readonly #hub: HubName;
  readonly #client: HubClient;
  readonly #never = new AbortController().signal;
  readonly #texts = new Map<string, Promise<string>>();
  #listing: Promise<HubListing> | null = null;
  #heads: Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer>>> | null = null;

  constructor(name: string, client: HubClient) {
    this.name = name;
    this.#hub = parseHubName(name)!;
    this.#client = client;
  }

  /** The files that would be fetched. @throws {LatentmeshError} if they are no model that can be loaded */
  async needed(): Promise<readonly HubFile[]> {
    const { files } = await this.#list();
    return [...smallFiles(files, formatHubName(this.#hub)), ...await this.#weights()];
  }

  async open(file: string): Promise<ByteSource | null> {
    const { files } = await this.#list();
    const listed = files.get(file);
    return listed === undefined ? null : { name: `${this.name}/${file}`, size: listed.size, read: (...range) => this.#read(listed, ...range) };
  }

  /** Nothing of a model that is elsewhere lies elsewhere here. */
  async openPath(path: string): Promise<ByteSource | null> {
    return path.startsWith(`${this.name}/`) ? await this.open(path.slice(this.name.length + 1)) : null;
  }

  async text(file: string): Promise<string | null> {
    const listed = (await this.#list()).files.get(file);
    if (listed === undefined) return null;
    const text = this.#texts.get(file) ?? this.#whole(listed);
    this.#texts.set(file, text);
    return await text;
  }

  /** It is what other processes open it by, too. */
  location(): Promise<string> {
    return Promise.resolve(this.name);
  }

  [Symbol.dispose](): void {
    // Nothing is open between two reads.
  }

  #list(): Promise<HubListing> {
    return this.#listing ??= listFiles(this.#client, this.#hub, this.#hub.revision, this.#never);
  }

  async #weights(): Promise<HubFile[]> {
    const { files } = await this.#list();
    return weightFiles(files, await this.text(INDEX_FILE), formatHubName(this.#hub));
  }

  async #whole(file: HubFile): Promise<string> {
    const bytes = await this.#range(file, 0, file.size);
    if (areFile(bytes, file)) return new TextDecoder().decode(bytes);
    throw new LatentmeshError("invalid_checkpoint", `Cannot use ${file.path} of ${formatHubName(this.#hub)}: it has another hash than the hub lists`);
  }

  async #read(
    file: HubFile,
    offset: number,
    length: number,
    into: Uint8Array<ArrayBuffer> = new Uint8Array(length),
  ): Promise<Uint8Array<ArrayBuffer>> {
    this.#heads ??= this.#fetchHeads();
    const head = (await this.#heads).get(file.path);
    into.set(
      head !== undefined && offset + length <= head.length
        ? head.subarray(offset, offset + length)
        : await this.#range(file, offset, offset + length),
    );
    return into;
  }

  async #fetchHeads(): Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer>>> {
    const heads = await mapLimited(
      await this.#weights(),
      HEADS_AT_ONCE,
      async (file) => [file.path, await this.#range(file, 0, Math.min(HEAD, file.size))] as const,
    );
    return new Map(heads);
  }

  #range(file: HubFile, begin: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    return fetchRange(this.#client, { name: this.#hub, commit: this.#hub.revision, file, begin, end, signal: this.#never });
  }
}
