/**
 * `POST /tokenize` and `POST /detokenize`, in vLLM's form.
 *
 * @module
 */
import type { Context } from "hono";
import { prepared } from "../answers/prepared.ts";
import type { AppEnv, ServerContext } from "../server_context.ts";

/** Text or conversation → tokens, and the other way. */
export async function handleTokens(
  c: Context<AppEnv>,
  server: Pick<ServerContext, "text" | "bodies">,
  kind: "tokenize" | "detokenize",
): Promise<Response> {
  return new Response(await prepared(c, server, kind), { headers: { "content-type": "application/json" } });
}
