/**
 * Documents of the project.
 *
 * @module
 */
import { ROOT } from "../../../bench/support/root.ts";

/** Those that are read by users, by their paths from the root. */
export async function documentPaths(): Promise<string[]> {
  const own = (await Array.fromAsync(Deno.readDir(`${ROOT}/docs`))).map(({ name }) => `docs/${name}`);
  return ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/NOTES.md", ...own.filter((path) => path.endsWith(".md")).sort()];
}
