/**
 * What is in `deploy` names files, tasks, flags and settings that exist. (Images are built, and units started, nowhere in these tests.)
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { existsSync } from "node:fs";
import { parse } from "yaml";
import manifest from "../../deno.json" with { type: "json" };
import { assertCommand } from "../support/docs/command_lines.ts";
import { ROOT } from "../../bench/support/root.ts";

const textOf = (path: string) => Deno.readTextFile(`${ROOT}/deploy/${path}`);

interface Service {
  readonly command: readonly string[];
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly environment?: Readonly<Record<string, string>>;
}

describe("deploy", () => {
  it("has a compose file whose services are commands, with the secrets that they name", async () => {
    const { services } = parse(await textOf("compose.yaml"), { merge: true }) as { services: Record<string, Service> };
    assertEquals(Object.keys(services).toSorted(), ["cell-1", "cell-2", "front", "nats"]);
    for (const [name, { command, build, environment }] of Object.entries(services)) {
      if (name === "nats") continue;
      assertCommand(command);
      assertEquals(build, { context: "..", dockerfile: "deploy/Dockerfile" });
      for (const arg of command) if (arg.startsWith("env:")) assert(arg.slice(4) in environment!, `${name} is not given ${arg}`);
    }
    const registries = Object.values(services).map(({ command }) => command[command.indexOf("--registry") + 1]).filter((at) =>
      at.startsWith("nats:")
    );
    assertEquals(new Set(registries).size, 1);
    assert(registries[0].startsWith("nats://nats:"), "it is the service of that name");
  });

  it("has a Dockerfile that copies what there is, runs as nobody in particular, with the permissions of the task", async () => {
    const lines = (await textOf("Dockerfile")).replaceAll("\\\n", "").split("\n").map((line) => line.trim());
    for (const line of lines.filter((line) => /^COPY (?!--)/.test(line))) {
      for (const path of line.split(/\s+/).slice(1, -1)) {
        assert(await Deno.stat(`${ROOT}/${path}`).then(() => true, () => false), `${path} does not exist`);
      }
    }
    const cached = lines.find((line) => line.startsWith("RUN deno cache"))!.split(" ").filter((word) => word.endsWith(".ts"));
    for (const path of cached) assert((await Deno.stat(`${ROOT}/${path}`)).isFile);
    const entry = JSON.parse(lines.find((line) => line.startsWith("ENTRYPOINT"))!.slice("ENTRYPOINT".length)) as string[];
    assertEquals(entry.filter((arg) => arg !== "--frozen").join(" "), manifest.tasks.serve.command.replace(/ serve$/, ""));
    assert(lines.includes("USER deno"));
    assertCommand(JSON.parse(lines.find((line) => line.startsWith("CMD"))!.slice("CMD".length)).filter((arg: string) => arg !== "--help"));
  });

  const UNITS = ["latentmesh-cell.service", "latentmesh-front.service"];

  it("has units of systemd whose commands exist", async () => {
    for (const unit of UNITS) {
      const text = await textOf(`systemd/${unit}`);
      assertEquals([...text.matchAll(/^\[(\w+)\]$/gm)].map(([, section]) => section), ["Unit", "Service", "Install"]);
      for (const line of text.split("\n")) assert(/^(#.*|\[\w+\]|[A-Z]\w+=.*|)$/.test(line), `${unit}: ${line}`);
      const [, command] = /^ExecStart=\/usr\/local\/bin\/deno task --quiet (.+)$/m.exec(text)!;
      assertCommand(command.split(" "));
    }
  });

  it("has units that run as nobody in particular, come after network and registry, and are started again for ever", async () => {
    for (const unit of UNITS) {
      const settings = new Map([...(await textOf(`systemd/${unit}`)).matchAll(/^(\w+)=(.*)$/gm)].map(([, key, value]) => [key, value]));
      const of = (key: string) => settings.get(key) ?? "";
      assertEquals([of("User"), of("NoNewPrivileges"), of("CapabilityBoundingSet"), of("ProtectSystem")], ["latentmesh", "yes", "", "strict"], unit);
      for (const other of ["network-online.target", "remote-fs.target", "nats-server.service"]) assert(of("After").split(" ").includes(other), other);
      assertEquals([of("Restart"), of("StartLimitIntervalSec")], ["on-failure", "0"]);
      // What is written goes where the unit may write.
      for (const [, directory] of of("Environment").matchAll(/=(\S+)/g)) {
        assert(directory.startsWith(`/var/cache/${of("CacheDirectory")}`), directory);
      }
    }
  });

  const ANALYZE = "/usr/bin/systemd-analyze";
  (existsSync(ANALYZE) ? it : it.skip)("has units that systemd understands", async () => {
    const directory = await Deno.makeTempDir();
    try {
      for (const unit of UNITS) {
        // Deno is wherever it is, here.
        await Deno.writeTextFile(`${directory}/${unit}`, (await textOf(`systemd/${unit}`)).replace("/usr/local/bin/deno", Deno.execPath()));
        const { stderr } = await new Deno.Command(ANALYZE, { args: ["verify", "--man=no", `${directory}/${unit}`], stderr: "piped" }).output();
        assertEquals(new TextDecoder().decode(stderr).split("\n").filter((line) => line.includes(unit)), []);
      }
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
});
