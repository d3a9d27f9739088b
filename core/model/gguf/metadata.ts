/**
 * The metadata of a file, by key and type.
 *
 * @module
 */
import { LatentmeshError } from "../../errors.ts";
import type { GgufValue } from "./header.ts";

/** Reads values, and refuses what is missing or of another type. */
export class GgufMetadata {
  readonly #name: string;
  readonly #values: ReadonlyMap<string, GgufValue>;

  /** @param name how the file is named in errors */
  constructor(name: string, values: ReadonlyMap<string, GgufValue>) {
    this.#name = name;
    this.#values = values;
  }

  /** @throws {LatentmeshError} `invalid_config` that says what is wrong with a key */
  refuse(key: string, problem: string): never {
    throw new LatentmeshError("invalid_config", `Cannot load ${this.#name}: "${key}" in its metadata ${problem}`, { param: key });
  }

  /** Keys that begin so. */
  keys(prefix: string): string[] {
    return [...this.#values.keys()].filter((key) => key.startsWith(prefix));
  }

  number(key: string): number | undefined {
    const value = this.#values.get(key);
    if (value === undefined || typeof value === "number") return value;
    return this.refuse(key, "is not a number");
  }

  /** A number that must be there. */
  required(key: string): number {
    return this.number(key) ?? this.refuse(key, "is missing");
  }

  boolean(key: string): boolean | undefined {
    const value = this.#values.get(key);
    if (value === undefined || typeof value === "boolean") return value;
    return this.refuse(key, "is not true or false");
  }

  string(key: string): string | undefined {
    const value = this.#values.get(key);
    if (value === undefined || typeof value === "string") return value;
    return this.refuse(key, "is not a string");
  }

  strings(key: string): readonly string[] | undefined {
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value;
    return this.refuse(key, "is not an array of strings");
  }

  numbers(key: string): readonly number[] | undefined {
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.every((each) => typeof each === "number")) return value;
    return this.refuse(key, "is not an array of numbers");
  }
}
