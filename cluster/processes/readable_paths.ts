/**
 * Where the files of a model are: in the cache of a hub they are links.
 *
 * @module
 */
import { besideModel, isGguf, partsOf } from "../../core/model/gguf/parts.ts";

/** What must be readable of a model. @param model path of a directory or of a GGUF file */
export function readablePaths(model: string): string[] {
  if (!isGguf(model)) return linkedFolders(model);
  const folder = model.slice(0, model.lastIndexOf("/") + 1);
  const files = partsOf(model.slice(folder.length)).map((file) => folder + file);
  return [...files, ...files.flatMap((file) => realPath(file) ?? []), besideModel(model, "basis.safetensors")];
}

/** The directory, and those that links in it lead to: who may read the first only may open such a file, and nothing else with it. */
function linkedFolders(directory: string): string[] {
  const folders = new Set([directory]);
  try {
    for (const { name, isSymlink } of Deno.readDirSync(directory)) if (isSymlink) folders.add(folderOf(`${directory}/${name}`) ?? directory);
  } catch {
    // Whoever opens it says what is wrong with it.
  }
  return [...folders];
}

function folderOf(link: string): string | null {
  const path = realPath(link);
  return path === null ? null : path.slice(0, path.lastIndexOf("/")) || "/";
}

function realPath(path: string): string | null {
  try {
    return Deno.realPathSync(path);
  } catch {
    return null;
  }
}
