/**
 * The GPUs of this host, as its drivers list them. Deno reads /dev and /sys only where everything is allowed, and a server is not: `ls` and `grep` look instead.
 *
 * @module
 */

/** NVIDIA's GPUs of this host; 0 also without permission to look, which is not asked for. */
export function gpuCount(): number {
  return Deno.permissions.querySync({ name: "run", command: "ls" }).state === "granted" ? nvidiaNodes().length : 0;
}

/** Device nodes of NVIDIA's GPUs, by number. */
export function nvidiaNodes(): string[] {
  return linesOf("ls", ["/dev"]).flatMap((name) => {
    const match = /^nvidia(\d+)$/.exec(name);
    return match === null ? [] : [Number(match[1])];
  }).sort((a, b) => a - b).map((number) => `/dev/nvidia${number}`);
}

/** PCI addresses of display controllers, in order. */
export function pciAddresses(): string[] {
  const root = "/sys/bus/pci/devices";
  return linesOf("grep", ["-l", "^0x03", ...linesOf("ls", [root]).map((address) => `${root}/${address}/class`)])
    .map((path) => path.split("/").at(-2)!).sort();
}

/** What a program prints; nothing where there is no such program, or it fails. */
export function linesOf(command: string, args: readonly string[]): string[] {
  try {
    const { stdout } = new Deno.Command(command, { args: [...args], stdin: "null", stderr: "null" }).outputSync();
    return new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
  } catch {
    return [];
  }
}
