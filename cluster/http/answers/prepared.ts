/**
 * From a request's body to what is computed: read here, everything else in a process beside this one.
 *
 * @module
 */
import type { Context } from "hono";
import type { TextJobs } from "../../text/jobs.ts";
import { HeldBody } from "../body.ts";
import type { AppEnv, ServerContext } from "../server_context.ts";

/** Kinds of jobs that take a body. */
type BodyJob = { [K in keyof TextJobs]: TextJobs[K]["input"] extends Uint8Array ? K : never }[keyof TextJobs];

/** Reads the body and prepares what it asks for. @throws {HttpError} if it cannot be used */
export async function prepared<K extends BodyJob>(
  c: Context<AppEnv>,
  { text, bodies }: Pick<ServerContext, "text" | "bodies">,
  kind: K,
): Promise<TextJobs[K]["output"]> {
  const client = c.get("client");
  using body = await HeldBody.read(c.req.raw, client, bodies);
  return await text.run(kind, body.bytes, { client, signal: c.req.raw.signal });
}
