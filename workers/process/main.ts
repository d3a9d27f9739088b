/**
 * Entry of a worker process. What it must know comes as one line of JSON on standard input, so that no secret is seen in argument lists or environments. It ends
 * when its coordinator does.
 *
 * @module
 */
import { DEVICE_CHOICES } from "../../core/device_kind.ts";
import { z } from "zod";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { JOINED_LINE, STARTED_LINE } from "../../core/wire/protocol.ts";
import type { Transport } from "../../core/wire/transport.ts";
import { ClusterWorker } from "./cluster_worker.ts";
import { failureExitCode, leavingExitCode } from "./exit_code.ts";
import { DenoTransport } from "../links/transport.ts";

const bootstrapSchema = z.strictObject({
  worker: z.string(),
  coordinator: z.string(),
  token: z.string().transform((hex) => Uint8Array.fromHex(hex)),
  listen: z.string(),
  advertise: z.string().optional(),
  host: z.string(),
  model: z.string(),
  basis: z.string().optional(),
  device: z.enum(DEVICE_CHOICES),
  dawn: z.string().optional(),
  tuning: z.strictObject({
    times: z.boolean().optional(),
    threads: z.number().int().positive().optional(),
    fma: z.boolean().optional(),
    wide: z.boolean().optional(),
  }).optional(),
  tls: z.strictObject({ cert: z.string().optional(), key: z.string().optional(), ca: z.string().optional() }).optional(),
});
/** What a worker process reads from its standard input. */
export type WorkerBootstrap = z.input<typeof bootstrapSchema>;

/** The first line of standard input. */
async function readLine(): Promise<string> {
  let text = "";
  for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.includes("\n")) break;
  }
  return text.split("\n")[0];
}

/** Runs this process as a worker. @param transport how it opens sockets; a bench slows them down */
export async function runWorker(transport: (bootstrap: WorkerBootstrap) => Transport): Promise<never> {
  say(STARTED_LINE);
  // A terminal sends these to every process of a job; the coordinator decides when its workers end.
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => {});
  try {
    const bootstrap = JSON.parse(await readLine());
    const { tls: _, ...options } = bootstrapSchema.parse(bootstrap);
    const worker = await ClusterWorker.join(options, transport(bootstrap));
    // Who started it hears that it was let in.
    if (options.advertise !== undefined) worker.welcomed.then(() => say(JOINED_LINE));
    const reason = await worker.closed;
    say(reason.message);
    Deno.exit(leavingExitCode(reason.code));
  } catch (error) {
    say(error instanceof LatentmeshError ? error.message : error instanceof Error ? error.stack ?? error.message : messageOf(error));
    Deno.exit(failureExitCode(error));
  }
}

function say(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) await runWorker(({ tls }) => new DenoTransport(tls));
