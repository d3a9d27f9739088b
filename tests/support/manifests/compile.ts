/**
 * Whether objects of Kubernetes are what their types say, to the last field.
 *
 * @module
 */
import { ROOT } from "../../../bench/support/root.ts";
import type { KubernetesObject } from "./kustomize.ts";

/** What is wrong with them; null: nothing. */
export async function problemsOf(objects: readonly KubernetesObject[]): Promise<string | null> {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/manifests.ts`;
    const type = `import type { Manifest } from "${new URL(`file://${ROOT}/tests/support/manifests/manifest.ts`)}";\n`;
    // A constant for each: what is wrong with one is not said of a list of all.
    const constants = objects.map((object, i) => `export const object${i}: Manifest = ${JSON.stringify(object, null, 1)};`);
    await Deno.writeTextFile(path, type + constants.join("\n"));
    const args = ["check", "--quiet", "--config", `${ROOT}/deno.json`, "--lock", `${ROOT}/tests/deno.lock`, "--frozen", path];
    const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" }, stdout: "null", stderr: "piped" }).output();
    return success ? null : new TextDecoder().decode(stderr);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
