/**
 * Asks a server that says something now and then, collects garbage, aborts, and says how reading went on. Run with `--v8-flags=--expose-gc`.
 *
 * @module
 */
import { abortableFetch } from "../../../core/net/abortable_fetch.ts";

declare const gc: (options: { readonly type: "minor" | "major" }) => void;

/** Nobody else holds the answer, as where only its body is read. */
async function bodyOf(url: string, signal: AbortSignal) {
  return (await abortableFetch(url, { signal })).body!.getReader();
}

if (import.meta.main) {
  let cancelled = Promise.withResolvers<string>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
    let timer: ReturnType<typeof setInterval>;
    const body = new ReadableStream({
      start: (controller) => void (timer = setInterval(() => controller.enqueue(new TextEncoder().encode("data: x\n\n")), 5)),
      cancel() {
        clearInterval(timer);
        cancelled.resolve("cancelled");
      },
    });
    return new Response(body);
  });
  for (const type of ["minor", "major"] as const) {
    const abort = new AbortController();
    const reader = await bodyOf(`http://127.0.0.1:${server.addr.port}`, abort.signal);
    await reader.read();
    for (let i = 0; i < 3; i++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      gc({ type });
    }
    abort.abort(new Error("enough"));
    let outcome = "reads on";
    for (let i = 0; i < 50 && outcome === "reads on"; i++) await reader.read().catch((error) => outcome = error.message);
    if (outcome === "reads on") await reader.cancel();
    console.log(`${outcome}, ${await cancelled.promise}`);
    cancelled = Promise.withResolvers();
  }
  await server.shutdown();
}
