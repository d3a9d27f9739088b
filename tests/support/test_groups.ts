/**
 * Which files of tests share an isolate. Each that has its own loads and compiles anew what it tests, which for most takes longer than its tests.
 *
 * @module
 */

/** Files whose tests run in one isolate, one after the other. */
export interface TestGroup {
  /** What tells it in output: the folder that holds its files, or its only file. */
  readonly name: string;
  readonly files: readonly string[];
}

/** Folders below `tests/` whose files come together: `tests/core/model`, with what is in it. */
const DEPTH = 3;

/**
 * Groups by folder, those of most files first.
 *
 * @param files paths as `tests/core/model/config_test.ts`
 * @param alone files and folders whose files have an isolate each, in the order in which they begin; all before the groups
 */
export function testGroups(files: readonly string[], alone: readonly string[]): TestGroup[] {
  const single = alone.flatMap((path) => files.filter((file) => file === path || file.startsWith(`${path}/`)).toSorted());
  const folders = new Map<string, string[]>();
  for (const file of files.toSorted()) {
    if (single.includes(file)) continue;
    const folder = file.split("/").slice(0, -1).slice(0, DEPTH).join("/");
    const known = folders.get(folder);
    if (known === undefined) folders.set(folder, [file]);
    else known.push(file);
  }
  return [
    ...[...new Set(single)].map((file) => ({ name: file, files: [file] })),
    ...[...folders].map(([name, files]) => ({ name: files.length === 1 ? files[0] : name, files })).toSorted((a, b) =>
      b.files.length - a.files.length
    ),
  ];
}

/** Name of a group's module, in a folder of the group's name. */
export const GROUP_MODULE = "all_test.ts";

/** A module that has the tests of a group. */
export function groupModule({ files }: TestGroup): string {
  return files.map((file) => `import "${import.meta.resolve(`../../${file}`)}";\n`).join("");
}

/** A line of output in which groups are called what they stand for. @param folder that their modules are in, whose last name no other has: what leads there may be shortened */
export function nameGroup(line: string, folder: string): string {
  const name = folder.split("/").at(-1)!;
  const modules = new RegExp(`\\S*${name.replace(/\W/g, "\\$&")}/(\\S*?)/${GROUP_MODULE}`, "g");
  return line.replace(modules, "./$1/*_test.ts");
}

/** Flags of `deno test` whose value is a word of its own. */
const VALUED = ["--filter"];

/** Whether arguments name what is to be tested. */
export function namesTests(args: readonly string[]): boolean {
  return args.some((arg, i) => !arg.startsWith("-") && !VALUED.includes(args[i - 1]));
}

/** All files of tests in a folder. */
export async function testFiles(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) files.push(...await testFiles(path));
    else if (name.endsWith("_test.ts")) files.push(path);
  }
  return files;
}
