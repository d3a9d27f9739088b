/**
 * How fast a card reads, measured in a process of its own: nothing of it is left when the server starts.
 *
 * @module
 */
import { isHost, isHostChoice } from "../../core/device_kind.ts";
import { selectGpu } from "../../cluster/processes/spawn.ts";
import type { DeviceChoice } from "../../kernels/device/providers.ts";
import { openBenchDevice } from "../support/device.ts";
import { linesOf } from "../lines.ts";
import { Stopwatch } from "../roofline/stopwatch.ts";

/** What a card is and does. */
export interface Card {
  readonly description: string;
  readonly bytesPerSecond: number;
  /** Whether it is none: what a processor reads depends on what lies in its caches, and says nothing of a step. */
  readonly host: boolean;
}

/** Asks a card. @param gpu null: whichever the driver prefers */
export async function measureReads(device: DeviceChoice, gpu: number | null, signal: AbortSignal): Promise<Card> {
  const selected = selectGpu(isHostChoice(device) ? null : gpu, [Deno.execPath(), "run", "-A", import.meta.filename!, device]);
  const child = new Deno.Command(selected.command, { args: selected.args, env: selected.env, stdout: "piped", signal }).spawn();
  let last = "";
  for await (const line of linesOf(child.stdout)) last = line;
  if (!(await child.status).success) throw new Error("How fast the card reads could not be measured; see above");
  return JSON.parse(last);
}

if (import.meta.main) {
  const device = await openBenchDevice(Deno.args[0]);
  const { bytesPerSecond } = await Stopwatch.start(device);
  console.log(JSON.stringify({ description: `${device.kind} (${device.description})`, bytesPerSecond, host: isHost(device.kind) } satisfies Card));
  // Dawn keeps the process alive.
  Deno.exit(0);
}
