/**
 * A GGUF file, or several that are one model, as the files of a model directory: what it says of itself in their form, and its tensors.
 *
 * @module
 */
import { LatentmeshError } from "../../errors.ts";
import type { ModelFiles, StoredTensor } from "../checkpoint.ts";
import { parseModelConfig } from "../config.ts";
import type { ByteSource } from "../safetensors.ts";
import { ggufConfigText } from "./config_text.ts";
import { type GgufHeader, readGgufHeader } from "./header.ts";
import { GgufMetadata } from "./metadata.ts";
import { besideModel, partsOf } from "./parts.ts";
import { ggufTensors, type LocatedTensor } from "./stored_tensors.ts";
import { generationConfigText, tokenizerConfigText, vocabularyText } from "./text_files.ts";

/** What of a directory is read. */
export type FolderFiles = ModelFiles & Disposable & {
  openPath(path: string): Promise<ByteSource | null>;
  location(): Promise<string>;
};

/** Of all parts together. */
interface Opened {
  readonly metadata: GgufMetadata;
  readonly tensors: ReadonlyMap<string, LocatedTensor>;
}

/** A model in GGUF files. */
export class GgufFiles implements ModelFiles {
  readonly name: string;
  readonly #folder: FolderFiles;
  readonly #file: string;
  #opened: Promise<Opened> | null = null;

  /** @param file its name in the folder; of several, the first's */
  constructor(folder: FolderFiles, file: string) {
    this.name = `${folder.name}/${file}`;
    this.#folder = folder;
    this.#file = file;
  }

  /** What only lies beside it: a basis, under the file's name. */
  open(file: string): Promise<ByteSource | null> {
    return this.#folder.open(besideModel(this.#file, file));
  }

  /** Opens a file that may lie elsewhere. */
  openPath(path: string): Promise<ByteSource | null> {
    return this.#folder.openPath(path);
  }

  async text(file: string): Promise<string | null> {
    switch (file) {
      case "config.json":
        return await this.#configText();
      case "tokenizer.json":
      case "tiktoken.model":
        return vocabularyText((await this.#open()).metadata, file);
      case "tokenizer_config.json":
        return tokenizerConfigText((await this.#open()).metadata);
      case "generation_config.json":
        return generationConfigText((await this.#open()).metadata);
      default:
        return null;
    }
  }

  async tensors(): Promise<ReadonlyMap<string, StoredTensor>> {
    const spec = parseModelConfig(await this.#configText(), this.name);
    return ggufTensors(this.name, spec, (await this.#open()).tensors);
  }

  /** What another process opens it by. Parts of a model lie beside each other by name, wherever links lead. */
  async location(): Promise<string> {
    return `${await this.#folder.location()}/${this.#file}`;
  }

  close(): void {
    this.#folder[Symbol.dispose]();
    this.#opened = null;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #configText(): Promise<string> {
    const { metadata, tensors } = await this.#open();
    return ggufConfigText(this.name, metadata, tensors);
  }

  #open(): Promise<Opened> {
    return this.#opened ??= openParts(this.#folder, this.#file, this.name);
  }
}

async function openParts(folder: FolderFiles, file: string, name: string): Promise<Opened> {
  const tensors = new Map<string, LocatedTensor>();
  let first: GgufHeader | null = null;
  const parts = partsOf(file);
  for (const [number, part] of parts.entries()) {
    const source = await folder.open(part);
    if (source === null) {
      const problem = number === 0
        ? "there is no such file (of GGUF files on the hub, org/name:Q4_K_M and hf:org/name/file.gguf are fetched)"
        : `${part}, which is part of it, is missing`;
      throw new LatentmeshError("not_found", `Cannot load ${name}: ${problem}`, { param: "model" });
    }
    const header = await readGgufHeader(source);
    first ??= header;
    requirePart(source, header, { number, parts: parts.length });
    for (const [tensor, info] of header.tensors) {
      if (tensors.has(tensor)) throw new LatentmeshError("invalid_checkpoint", `Cannot load ${name}: tensor "${tensor}" is in two of its parts`);
      tensors.set(tensor, { ...info, source });
    }
  }
  const metadata = new GgufMetadata(name, first!.metadata);
  const count = metadata.number("split.tensors.count");
  if (parts.length > 1 && count !== undefined && count !== tensors.size) {
    metadata.refuse("split.tensors.count", `is ${count}; its parts have ${tensors.size}`);
  }
  return { metadata, tensors };
}

/** A file that is part of another model, or another part, is refused. */
function requirePart(source: ByteSource, header: GgufHeader, { number, parts }: { readonly number: number; readonly parts: number }): void {
  const metadata = new GgufMetadata(source.name, header.metadata);
  const count = metadata.number("split.count") ?? 1;
  if (Math.max(1, count) !== parts) {
    metadata.refuse("split.count", `is ${count}, but by its name it is one of ${parts}; files of several parts are called NAME-00001-of-0000N.gguf`);
  }
  const own = metadata.number("split.no") ?? 0;
  if (own !== number) metadata.refuse("split.no", `is ${own}, but by its name it is ${number} (they count from 0)`);
}
