/**
 * The files of a model that is on no disk: random weights in the sizes of a published model, for measuring.
 *
 * @module
 */
import type { ModelFiles } from "../checkpoint.ts";
import { parseModelConfig } from "../config.ts";
import type { ByteSource } from "../safetensors.ts";
import { SyntheticSource } from "./checkpoint_source.ts";
import { parseSynthetic } from "./name.ts";
import { configOf } from "./shapes.ts";
import { SYNTHETIC_TOKENIZER_CONFIG, syntheticTokenizer } from "./tokenizer_text.ts";

/** What `config.json` is of, and where weights come from. */
export interface SyntheticSizes {
  readonly config: string;
  readonly seed: number;
}

/** A model directory that is made up. */
export class SyntheticFiles implements ModelFiles {
  readonly name: string;
  readonly seed: number;
  readonly #config: string;
  #checkpoint: ByteSource | null = null;

  constructor(name: string, { config, seed }: SyntheticSizes) {
    this.name = name;
    this.seed = seed;
    this.#config = config;
  }

  /** The model of a name such as `synthetic:v2-lite?layers=9`. @throws {LatentmeshError} `invalid_config` */
  static named(name: string): SyntheticFiles {
    const { shape, layers, seed, int4, mtp } = parseSynthetic(name);
    return new SyntheticFiles(name, { config: configOf(shape, layers, { int4, mtp }), seed });
  }

  open(file: string): Promise<ByteSource | null> {
    if (file !== "model.safetensors") return Promise.resolve(null);
    this.#checkpoint ??= new SyntheticSource(`${this.name}/${file}`, this.#spec, this.seed);
    return Promise.resolve(this.#checkpoint);
  }

  /** Nothing of it lies anywhere. */
  openPath(): Promise<null> {
    return Promise.resolve(null);
  }

  text(file: string): Promise<string | null> {
    return Promise.resolve(this.#textOf(file));
  }

  /** What another process opens it by. */
  location(): Promise<string> {
    return Promise.resolve(this.name);
  }

  [Symbol.dispose](): void {}

  get #spec() {
    const spec = parseModelConfig(this.#config, `${this.name}/config.json`);
    return { ...spec, mtp: spec.mtpLayers > 0 };
  }

  #textOf(file: string): string | null {
    switch (file) {
      case "config.json":
        return this.#config;
      case "tokenizer.json":
        return syntheticTokenizer(this.#spec.vocabSize);
      case "tokenizer_config.json":
        return SYNTHETIC_TOKENIZER_CONFIG;
      default:
        return null;
    }
  }
}
