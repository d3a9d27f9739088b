/**
 * Where the files of a directory are: in the cache of a hub they are links.
 *
 * @module
 */

/** The directory, and those that links in it lead to: who may read the first only may open such a file, and nothing else with it. */
export function linkedFolders(directory: string): string[] {
  const folders = new Set([directory]);
  try {
    for (const { name, isSymlink } of Deno.readDirSync(directory)) if (isSymlink) folders.add(folderOf(`${directory}/${name}`) ?? directory);
  } catch {
    // Whoever opens it says what is wrong with it.
  }
  return [...folders];
}

function folderOf(link: string): string | null {
  try {
    const path = Deno.realPathSync(link);
    return path.slice(0, path.lastIndexOf("/")) || "/";
  } catch {
    return null;
  }
}
