/**
 * The parts of the documents that are generated from the code: between `<!-- begin: NAME -->` and `<!-- end: NAME -->`.
 *
 * @module
 */
import { ROOT } from "../../../bench/support/root.ts";
import { configKeys } from "./config_keys.ts";
import { commandList, environmentList, flagLists } from "./flag_lists.ts";
import { metricList } from "./metric_list.ts";

/** Most columns of prose and code in documents. */
export const WIDTH = 120;

const PARTS: Readonly<Record<string, () => string | Promise<string>>> = {
  keys: configKeys,
  commands: commandList,
  flags: flagLists,
  environment: environmentList,
  metrics: metricList,
};

/** A document with its generated parts as they should be. @throws if it names a part that there is not */
export async function generated(path: string): Promise<string> {
  const text = await Deno.readTextFile(`${ROOT}/${path}`);
  const parts = new Map<string, string>();
  for (const [, name] of text.matchAll(/<!-- begin: (\w+) -->/g)) {
    if (PARTS[name] === undefined) throw new Error(`${path} asks for "${name}", which is not among ${Object.keys(PARTS).join(", ")}`);
    parts.set(name, await PARTS[name]());
  }
  const put = (_: string, begin: string, name: string, end: string) => `${begin}\n${parts.get(name)}\n\n${end}`;
  return await formatted(text.replace(/(<!-- begin: (\w+) -->\n).*?(<!-- end: \2 -->)/gs, put));
}

/** Markdown with its prose wrapped. */
export async function formatted(text: string): Promise<string> {
  const args = ["fmt", "--no-config", `--line-width=${WIDTH}`, "--ext=md", "-"];
  const child = new Deno.Command(Deno.execPath(), { args, stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { success, stdout } = await child.output();
  if (!success) throw new Error("deno fmt failed");
  return new TextDecoder().decode(stdout);
}
