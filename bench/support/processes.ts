/**
 * Processes of this machine, where `/proc` tells.
 *
 * @module
 */

/** Whether `/proc` tells. */
export const CAN_LIST_PROCESSES: boolean = await Deno.stat("/proc/self/stat").then(() => true, () => false);

/** All that a process has started, and what those have. */
export async function descendants(pid: number): Promise<number[]> {
  const children = new Map<number, number[]>();
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = await parentOf(Number(name));
    if (parent !== null) children.set(parent, [...children.get(parent) ?? [], Number(name)]);
  }
  const all = (of: number): number[] => (children.get(of) ?? []).flatMap((child) => [child, ...all(child)]);
  return all(pid);
}

/** Whether a process runs; one that has ended and was not waited for does not. */
export async function runs(pid: number): Promise<boolean> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => null);
  return stat !== null && stat[stat.lastIndexOf(")") + 2] !== "Z";
}

async function parentOf(pid: number): Promise<number | null> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => null);
  return stat === null ? null : Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}
