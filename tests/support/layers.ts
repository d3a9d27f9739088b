/**
 * The layers: imports go core ← kernels ← workers and core ← cluster, never in a circle, and benches import no tests. Also reports the longest files.
 *
 * @module
 */
import { ROOT } from "./fixtures.ts";

/** What each top-level folder may import, besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  kernels: ["core"],
  workers: ["core", "kernels"],
  cluster: ["core"],
};

/** Layers whose folders import each other in one direction only. */
const ORDERED: ReadonlySet<string> = new Set(["kernels", "workers", "cluster"]);

/** The files that compose workers and cluster. */
const COMPOSERS = new Set(["mod.ts", "cluster/main.ts", "cluster/compose.ts"]);

/** A file longer than this is asked what it is about. */
const LONG = 300;

/** Throws if a file imports what its layer must not, or a circle of imports exists. */
export async function checkLayers(): Promise<void> {
  const files = await sourceFiles();
  const imports = new Map(await Promise.all(files.map(async (file) => [file, await importsOf(file)] as const)));
  const problems: string[] = [];
  for (const [file, targets] of imports) {
    const layer = file.split("/")[0];
    for (const target of targets) {
      const other = target.split("/")[0];
      if (layer === "bench" && other === "tests") problems.push(`${file} must not import ${target}`);
      if (COMPOSERS.has(file) || !(layer in MAY_IMPORT) || other === layer || other === "deno.json") continue;
      if (!MAY_IMPORT[layer].includes(other)) problems.push(`${file} must not import ${target}`);
    }
  }
  const circle = findCircle(imports);
  if (circle !== null) problems.push(`circular imports: ${circle.join(" → ")}`);
  const folders = findCircle(importsOfFolders(imports));
  if (folders !== null) problems.push(`folders that import each other: ${folders.join(" → ")}`);
  if (problems.length > 0) throw new Error(problems.join("\n"));
  await reportSizes(files);
}

async function sourceFiles(): Promise<string[]> {
  const files: string[] = ["mod.ts"];
  const walk = async (directory: string) => {
    for await (const entry of Deno.readDir(`${ROOT}/${directory}`)) {
      const path = `${directory}/${entry.name}`;
      if (entry.isDirectory) await walk(path);
      else if (/\.tsx?$/.test(entry.name)) files.push(path);
    }
  };
  for (const folder of [...Object.keys(MAY_IMPORT), "tests", "bench"]) await walk(folder);
  return files.sort();
}

/** Files of the project that a file imports, relative to the root. */
async function importsOf(file: string): Promise<string[]> {
  const text = await Deno.readTextFile(`${ROOT}/${file}`);
  const specifiers = [...text.matchAll(/^(?:import|export)[^;]*?from "(\.[^"]+)"|^import "(\.[^"]+)"/gms)].map((match) => match[1] ?? match[2]);
  return specifiers.map((specifier) => new URL(specifier, `file:///${file}`).pathname.slice(1)).filter((target) => !target.endsWith(".wgsl"));
}

/** What folders of {@link ORDERED} layers import of the same layer. */
function importsOfFolders(imports: ReadonlyMap<string, readonly string[]>): Map<string, string[]> {
  const folderOf = (file: string) => file.split("/").slice(0, 2).join("/");
  const isIn = (file: string) => ORDERED.has(file.split("/")[0]) && file.split("/").length > 2;
  const folders = new Map<string, Set<string>>();
  for (const [file, targets] of imports) {
    if (!isIn(file)) continue;
    const folder = folderOf(file);
    const known = folders.get(folder) ?? new Set();
    folders.set(folder, known);
    for (const target of targets) {
      if (isIn(target) && target.startsWith(`${file.split("/")[0]}/`) && folderOf(target) !== folder) known.add(folderOf(target));
    }
  }
  return new Map([...folders].map(([folder, targets]) => [folder, [...targets]]));
}

function findCircle(imports: ReadonlyMap<string, readonly string[]>): string[] | null {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] | null => {
    if (done.has(file)) return null;
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    path.push(file);
    for (const target of imports.get(file) ?? []) {
      const circle = visit(target);
      if (circle !== null) return circle;
    }
    path.pop();
    done.add(file);
    return null;
  };
  for (const file of imports.keys()) {
    const circle = visit(file);
    if (circle !== null) return circle;
  }
  return null;
}

async function reportSizes(files: readonly string[]): Promise<void> {
  const sizes = await Promise.all(files.map(async (file) => ({ file, lines: (await Deno.readTextFile(`${ROOT}/${file}`)).split("\n").length - 1 })));
  sizes.sort((a, b) => b.lines - a.lines);
  const median = sizes[Math.floor(sizes.length / 2)].lines;
  console.error(
    `    ${sizes.length} files, median ${median} lines; longest: ${sizes.slice(0, 4).map(({ file, lines }) => `${file} ${lines}`).join(", ")}`,
  );
  const long = sizes.filter(({ lines }) => lines > LONG);
  if (long.length > 0) console.error(`    over ${LONG} lines: ${long.map(({ file }) => file).join(", ")}`);
}
