/**
 * `deno task docs`: writes the generated parts of the documents anew, and wraps the prose of all.
 *
 * @module
 */
import { ROOT } from "../../../bench/support/root.ts";
import { documentPaths } from "./documents.ts";
import { generated } from "./generate.ts";

for (const path of await documentPaths()) {
  const before = await Deno.readTextFile(`${ROOT}/${path}`);
  const after = await generated(path);
  if (after === before) continue;
  await Deno.writeTextFile(`${ROOT}/${path}`, after);
  console.error(`wrote ${path}`);
}
