/**
 * Entry of a worker process. What it must know comes as one line of JSON on standard input, so that no secret is seen in argument lists or environments. It ends
 * when its coordinator does.
 *
 * @module
 */
import { DEVICE_CHOICES } from "../../core/device_kind.ts";
import { z } from "zod";
import { type ErrorCode, LatentmeshError, messageOf } from "../../core/errors.ts";
import { JOINED_LINE, LATER_EXIT_CODE, REFUSED_EXIT_CODE, STARTED_LINE, UNABLE_EXIT_CODE } from "../../core/wire/protocol.ts";
import type { Transport } from "../../core/wire/transport.ts";
import { ClusterWorker } from "./cluster_worker.ts";
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
  tuning: z.strictObject({ times: z.boolean().optional(), threads: z.number().int().positive().optional(), fma: z.boolean().optional() }).optional(),
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
    Deno.exit(EXIT_CODES[reason.code] ?? 0);
  } catch (error) {
    say(error instanceof LatentmeshError ? error.message : error instanceof Error ? error.stack ?? error.message : messageOf(error));
    Deno.exit(error instanceof LatentmeshError ? UNABLE.has(error.code) ? UNABLE_EXIT_CODE : EXIT_CODES[error.code] ?? 1 : 1);
  }
}

/** Of errors that tell the supervisor more than that there was one. */
const EXIT_CODES: Partial<Record<ErrorCode, number>> = { unauthorized: REFUSED_EXIT_CODE, capacity: LATER_EXIT_CODE };

/** Of errors before it has joined, which are about this host: those that it would meet again. */
const UNABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["invalid_config", "invalid_checkpoint", "unsupported", "not_found", "device_unavailable"]);

function say(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) await runWorker(({ tls }) => new DenoTransport(tls));
