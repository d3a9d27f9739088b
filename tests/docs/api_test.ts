/**
 * docs/api.md names every endpoint, parameter and status, and none that is gone.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { createApp } from "../../cluster/http/app.ts";
import { DASHBOARD_PATHS } from "../../cluster/http/dashboard/routes.ts";
import { chatRequest, completionRequest } from "../../cluster/api/openai_schema.ts";
import { countTokensRequest, messagesRequest } from "../../cluster/api/messages_schema.ts";
import { responsesRequest } from "../../cluster/api/responses_schema.ts";
import type { ServerMetrics } from "../../cluster/observe/metrics.ts";
import { ROOT } from "../../bench/support/root.ts";

const text = await Deno.readTextFile(`${ROOT}/docs/api.md`);
/** From a heading to the next one. */
const section = (title: string) => text.split(/^## /m).find((part) => part.startsWith(`${title}\n`))!;

describe("docs/api.md", () => {
  it("names the endpoints that the server has, and no others", () => {
    const signal = new AbortController().signal;
    const app = createApp(() => ({ loading: "", loadedBytes: 0, totalBytes: 0 }), { drain: signal, shutdown: signal, metrics: {} as ServerMetrics });
    const routes = app.routes.filter(({ method }) => method !== "ALL").map(({ method, path }) => {
      const file = path !== "/" && DASHBOARD_PATHS.includes(path);
      return `${method} ${file ? "/dashboard/{file}" : path.replace(/:(\w+)(\{.*\})?/, "{$1}")}`;
    });
    const named = [...section("Endpoints").matchAll(/^\| `([A-Z]+ [^`]+)`/gm)].map(([, endpoint]) => endpoint);
    assertEquals(named.sort(), [...new Set(routes)].sort());
  });

  it("names every parameter that is taken", () => {
    const both = section("Parameters of both completion endpoints");
    const cases = [
      [Object.keys(chatRequest.shape), both + section("Chat completions")],
      [Object.keys(completionRequest.shape), both + section("Completions")],
      [Object.keys(responsesRequest.shape), both + section("Responses")],
      [Object.keys(messagesRequest.shape), both + section("Messages")],
      [Object.keys(countTokensRequest.shape), both + section("Messages")],
    ] as const;
    for (const [parameters, said] of cases) for (const name of parameters) assert(said.includes(`\`${name}\``), name);
  });

  it("lists no parameter that is not taken", () => {
    const taken = new Set([...Object.keys(chatRequest.shape), ...Object.keys(completionRequest.shape)]);
    for (const title of ["Parameters of both completion endpoints", "Chat completions", "Completions"]) {
      for (const [, name] of section(title).matchAll(/^\| `(\w+)`/gm)) assert(taken.has(name), name);
    }
  });
});
