/**
 * What can be asked of a model of which there is no more than its tokenizer and template.
 *
 * @module
 */
import { Hono } from "hono";
import type { TextService } from "../text/text_work.ts";
import { handleCountTokens } from "./anthropic/messages.ts";
import { bodyLimits } from "./body.ts";
import { addErrors } from "./every_server.ts";
import { nameRequest, requireKey } from "./guards.ts";
import { handleTokens } from "./openai/tokens.ts";
import type { AppEnv, ServerContext } from "./server_context.ts";

/** What endpoints of texts need of the server. */
type TextContext = Pick<ServerContext, "text" | "bodies">;

/** Adds the endpoints that need no weights (`TEXT_PATHS`). @param context asked at every request */
export function addTextRoutes(app: Hono<AppEnv>, context: () => TextContext): void {
  app.post("/tokenize", (c) => handleTokens(c, context(), "tokenize"));
  app.post("/detokenize", (c) => handleTokens(c, context(), "detokenize"));
  app.post("/v1/messages/count_tokens", (c) => handleCountTokens(c, context()));
}

/** Such endpoints alone, for requests that have been let in. */
export function createTextApp(
  text: TextService,
  { apiKeys = [], maxBytes }: { readonly apiKeys?: readonly string[]; readonly maxBytes: number },
): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  const bodies = bodyLimits(maxBytes);
  app.use(nameRequest);
  // Whose they are is to be known here, too.
  if (apiKeys.length > 0) app.use(requireKey(apiKeys));
  addTextRoutes(app, () => ({ text, bodies }));
  addErrors(app);
  return app;
}
