/**
 * The layers: imports go core ← kernels ← workers and core ← cluster, never in a circle; folders beside each other import in one direction only; benches import no
 * tests. Also that a layer's top level holds folders and next to no files, and that files are short.
 *
 * @module
 */
import { ROOT } from "../../bench/support/root.ts";

/** What each top-level folder may import, besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  kernels: ["core"],
  workers: ["core", "kernels"],
  cluster: ["core"],
};

/** The files that compose workers and cluster. */
const COMPOSERS = new Set(["mod.ts", "cluster/main.ts", "cluster/compose.ts"]);

/** Layers of which {@link MOST_AT_TOP} files at most are in no folder. */
const FOLDERS_ONLY = ["kernels", "workers", "cluster"];
const MOST_AT_TOP = 4;

/** A file longer than this is asked what it is about. */
const LONG = 300;
/** None is longer. */
const LONGEST = 330;

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
  for (const siblings of importsOfSiblings(imports).values()) {
    const folders = findCircle(siblings);
    if (folders !== null) problems.push(`folders that import each other: ${folders.join(" → ")}`);
  }
  for (const layer of FOLDERS_ONLY) {
    const loose = files.filter((file) => file.startsWith(`${layer}/`) && file.split("/").length === 2);
    if (loose.length > MOST_AT_TOP) problems.push(`more than ${MOST_AT_TOP} files are in no folder of ${layer}: ${loose.join(", ")}`);
  }
  const sizes = await sizesOf(files);
  for (const { file, lines } of sizes) {
    if (lines > LONGEST) problems.push(`${file} has ${lines} lines; ${LONGEST} is the most`);
  }
  if (problems.length > 0) throw new Error(problems.join("\n"));
  reportSizes(sizes);
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
  const written = /^(?:import|export)[^;]*?from "(\.[^"]+)"|^import "(\.[^"]+)"|\bawait import\("(\.[^"]+)"\)|^ +import\("(\.[^"]+)"\),$/gms;
  const specifiers = [...text.matchAll(written)].map((match) => match.slice(1).find((specifier) => specifier !== undefined)!);
  return specifiers.map((specifier) => new URL(specifier, `file:///${file}`).pathname.slice(1)).filter((target) => !target.endsWith(".wgsl"));
}

/** For each folder of a layer, what the folders in it import of each other. */
function importsOfSiblings(imports: ReadonlyMap<string, readonly string[]>): Map<string, Map<string, string[]>> {
  const all = new Map<string, Map<string, string[]>>();
  for (const [file, targets] of imports) {
    const path = file.split("/");
    if (!(path[0] in MAY_IMPORT)) continue;
    for (const target of targets) {
      const other = target.split("/");
      const depth = path.findIndex((name, i) => name !== other[i]);
      // Both must be in folders below the one that they share.
      if (depth < 1 || path.length < depth + 2 || other.length < depth + 2) continue;
      const [parent, from, to] = [path.slice(0, depth), path.slice(0, depth + 1), other.slice(0, depth + 1)].map((names) => names.join("/"));
      const siblings = all.get(parent) ?? new Map<string, string[]>();
      all.set(parent, siblings.set(from, [...siblings.get(from) ?? [], to]));
    }
  }
  return all;
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

/** Lines of files, the longest first. */
async function sizesOf(files: readonly string[]): Promise<{ readonly file: string; readonly lines: number }[]> {
  const sizes = await Promise.all(files.map(async (file) => ({ file, lines: (await Deno.readTextFile(`${ROOT}/${file}`)).split("\n").length - 1 })));
  return sizes.sort((a, b) => b.lines - a.lines);
}

function reportSizes(sizes: readonly { readonly file: string; readonly lines: number }[]): void {
  const median = sizes[Math.floor(sizes.length / 2)].lines;
  console.error(
    `    ${sizes.length} files, median ${median} lines; longest: ${sizes.slice(0, 4).map(({ file, lines }) => `${file} ${lines}`).join(", ")}`,
  );
  const long = sizes.filter(({ lines }) => lines > LONG);
  if (long.length > 0) console.error(`    over ${LONG} lines: ${long.map(({ file }) => file).join(", ")}`);
}
