/**
 * A model whose weights are on a hub only, read as far as a plan needs it: texts whole, of weights the headers.
 *
 * @module
 */
import { invariant, LatentmeshError } from "../../core/errors.ts";
import { mapLimited } from "../../core/limited.ts";
import { INDEX_FILE } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { type FolderFiles, GgufFiles } from "../../core/model/gguf/gguf_files.ts";
import type { ByteSource } from "../../core/model/safetensors.ts";
import { readConfigText } from "../../core/model/config_text.ts";
import { areFile } from "./file_hash.ts";
import { fetchRange } from "./fetch_range.ts";
import type { HubClient } from "./hub_client.ts";
import { formatHubName, type HubName, parseHubName } from "./hub_name.ts";
import { type HubFile, type HubListing, listFiles } from "./listing.ts";
import { chooseGguf } from "./gguf_choice.ts";
import { CONFIG_FILE, ggufFiles, smallFiles, weightFiles } from "./needed_files.ts";

/** Bytes of each file that are fetched ahead: most headers are shorter. */
const HEAD = 100_000;

/** Files whose beginnings are fetched at a time. */
const HEADS_AT_ONCE = 8;

/** What settings call a model that is read from where it is. @param name of one in GGUF files, its file */
export function remoteName({ repository, gguf }: HubName, commit: string): string {
  return `hf:${repository}@${commit}${gguf === undefined ? "" : `/${gguf}`}`;
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
export class RemoteFiles implements FolderFiles {
  /** Of the repository; of what it holds, {@link RemoteFiles.model}. */
  readonly name: string;
  readonly #hub: HubName;
  readonly #client: HubClient;
  readonly #never = new AbortController().signal;
  readonly #texts = new Map<string, Promise<string>>();
  readonly #pieces = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  #listing: Promise<HubListing> | null = null;
  #heads: Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer>>> | null = null;

  constructor(name: string, client: HubClient) {
    this.#hub = parseHubName(name)!;
    this.name = remoteName({ ...this.#hub, gguf: undefined }, this.#hub.revision);
    this.#client = client;
  }

  /** The model: these files, or what one of them holds. */
  model(): FolderFiles {
    const { gguf } = this.#hub;
    return gguf === undefined ? this : new GgufFiles(this, gguf);
  }

  /** Looks at config, and at the types of tensors in GGUF files. @throws {LatentmeshError} why it cannot be run */
  async requireModel(): Promise<void> {
    const model = this.model();
    parseModelConfig(await readConfigText(model), `${formatHubName(this.#hub)}/${CONFIG_FILE}`);
    await model.tensors?.();
  }

  /** The files that would be fetched. @throws {LatentmeshError} if they are no model that can be loaded */
  async needed(): Promise<readonly HubFile[]> {
    const { files } = await this.#list();
    const { gguf } = this.#hub;
    const model = formatHubName(this.#hub);
    if (gguf !== undefined) return ggufFiles(files, chooseGguf(files.keys(), gguf, model), model);
    return [...smallFiles(files, model), ...await this.#weights()];
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
    return this.#listing ??= listFiles(this.#client, this.#hub, this.#hub.revision, { signal: this.#never, recursive: this.#hub.gguf !== undefined });
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
    if (this.#hub.gguf !== undefined) {
      into.set(await this.#once(file, offset, offset + length));
      return into;
    }
    this.#heads ??= this.#fetchHeads();
    const head = (await this.#heads).get(file.path);
    into.set(
      head !== undefined && offset + length <= head.length
        ? head.subarray(offset, offset + length)
        : await this.#range(file, offset, offset + length),
    );
    return into;
  }

  /** Heads of GGUF files hold vocabularies, and are read in the same pieces each time. */
  #once(file: HubFile, begin: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const key = `${file.path} ${begin} ${end}`;
    const pieces = this.#pieces;
    const piece = pieces.get(key) ?? this.#range(file, begin, end);
    pieces.set(key, piece);
    piece.catch(() => pieces.delete(key));
    return piece;
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
