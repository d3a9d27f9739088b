/**
 * The pods of `deploy/kubernetes`, as processes: in a network of their own where they have the names that pods would have, with secrets made as docs/fronts.md says. No
 * scheduler, kubelet or network plugin is part of it.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { TASK_ENV } from "../../bench/support/process.ts";
import { snippetsOf } from "../support/docs/snippets.ts";
import { ROOT } from "../../bench/support/root.ts";
import { LEADER, type SeenPods, WORKER } from "../support/manifests/run_pods.ts";

/** A network and names of files of this process's own, which ends with all that it has started. */
const ALONE = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/** Why pods cannot be run here; null: they can. */
function absence(): string | null {
  if (Deno.build.os !== "linux") return "network namespaces are Linux's";
  if (Deno.uid() !== 0) return "only root makes network namespaces";
  const works = (command: string, ...args: string[]) => {
    try {
      return new Deno.Command(command, { args, stdout: "null", stderr: "null" }).outputSync().success;
    } catch {
      return false;
    }
  };
  if (!works("unshare", ...ALONE, "sh", "-c", "ip link set lo up && mount --bind /etc/hosts /etc/hosts")) {
    return "this system lets nobody make network namespaces";
  }
  return works("openssl", "version") ? null : "there is no openssl";
}

/** The certificate that the document makes. */
async function makeCertificate(directory: string): Promise<void> {
  const snippets = snippetsOf(await Deno.readTextFile(`${ROOT}/docs/fronts.md`));
  const { text } = snippets.flatMap(({ commands }) => commands).find(({ text }) => text.startsWith("openssl req"))!;
  const links = `${directory}/etc/latentmesh/links`;
  await Deno.mkdir(links, { recursive: true });
  const { success, stderr } = await new Deno.Command("sh", { args: ["-c", text], cwd: links, stderr: "piped" }).output();
  assert(success, new TextDecoder().decode(stderr));
  await Deno.copyFile(`${links}/tls.crt`, `${links}/ca.crt`);
}

describe("the pods of deploy/kubernetes", () => {
  const absent = absence();
  const test = absent === null ? it : it.skip;
  test(`are a cell and a front that serve, and end without a loss${absent === null ? "" : `: skipped, ${absent}`}`, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await makeCertificate(directory);
      await Deno.writeTextFile(`${directory}/hosts`, `127.0.0.1 localhost\n127.0.0.11 ${LEADER}\n127.0.0.12 ${WORKER}\n`);
      const script =
        `ip link set lo up && mount --bind "$1/hosts" /etc/hosts && exec "$2" run -A --quiet --config "$3/deno.json" --lock "$3/tests/deno.lock" "$3/tests/support/manifests/run_pods.ts" "$1"`;
      const args = [...ALONE, "sh", "-c", script, "sh", directory, Deno.execPath(), ROOT];
      const { success, stderr } = await new Deno.Command("unshare", { args, env: { ...TASK_ENV }, stdout: "null", stderr: "piped" }).output();
      assert(success, new TextDecoder().decode(stderr));
      const seen: SeenPods = JSON.parse(await Deno.readTextFile(`${directory}/seen.json`));
      assertEquals(seen.records, ["latentmesh-cell-latentmesh-cell-0 latentmesh-cell-0"]);
      assertEquals(seen.places.toSorted(), ["decode-0.0 worker-0", "prefill-0.0 worker-1"]);
      assertEquals(seen.unkeyed, 401);
      assert(seen.stream.tokens >= 1200 && seen.stream.done, JSON.stringify(seen));
      assertEquals([[503, 0].includes(seen.whileEnding), seen.waited, seen.left, seen.codes], [true, true, 0, [0, 0, 0]], JSON.stringify(seen));
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
});
