/**
 * Names of GGUF files. Models of several parts are in files `NAME-00001-of-0000N.gguf`.
 *
 * @module
 */
import { LatentmeshError } from "../../errors.ts";

const EXTENSION = /\.gguf$/i;
const PART = /^(.*)-(\d{5})-of-(\d{5})(\.gguf)$/i;

/** More than any model has. */
const MOST_PARTS = 1024;

/** Whether a path is of such a file. */
export function isGguf(path: string): boolean {
  return EXTENSION.test(path);
}

/** Names of all parts. @param file of the first, without its folder @throws {LatentmeshError} `invalid_config` if it is another */
export function partsOf(file: string): string[] {
  const [, name, number, count, extension] = PART.exec(file) ?? [];
  if (name === undefined) return [file];
  const first = `${name}-00001-of-${count}${extension}`;
  if (Number(count) < 1 || Number(count) > MOST_PARTS) {
    throw new LatentmeshError("invalid_config", `Cannot load ${file}: it is one of ${count} files; the most are ${MOST_PARTS}`, { param: "model" });
  }
  if (number !== "00001") {
    throw new LatentmeshError("invalid_config", `Cannot load ${file}: name the first of its files, ${first}`, { param: "model" });
  }
  return Array.from({ length: Number(count) }, (_, i) => `${name}-${String(i + 1).padStart(5, "0")}-of-${count}${extension}`);
}

/** Where what belongs to a model, and is published apart, lies: in its directory, or under its file's name. @param model path of a directory or a file */
export function besideModel(model: string, file: string): string {
  return `${model.replace(/\/+$/, "")}${isGguf(model) ? "." : "/"}${file}`;
}

/** What the model of a file is called. */
export function modelNameOf(file: string): string {
  return file.replace(PART, "$1$4").replace(EXTENSION, "");
}
