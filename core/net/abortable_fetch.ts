/**
 * `fetch` whose signal ends answers, too.
 *
 * @module
 */

/** As it was when this was loaded. */
const plainFetch = globalThis.fetch;

/**
 * `fetch`; when its signal aborts, reading the body fails and the connection is closed.
 *
 * Deno's own (2.9.6) does so only until garbage is collected: the signal that follows the given one, and ends the body, is then held by nobody
 * (https://github.com/denoland/deno/issues/29075 was the same of `AbortSignal.any`, which is mended for listeners alone). Whoever waited for a silent server waited for
 * ever, and whoever left was computed for. A body that is neither read to its end nor cancelled is held by its signal.
 */
export async function abortableFetch(input: string | URL | Request, init?: RequestInit & { client?: Deno.HttpClient }): Promise<Response> {
  const response = await plainFetch(input, init);
  const signal = init?.signal !== undefined ? init.signal : input instanceof Request ? input.signal : null;
  if (signal === null || response.body === null) return response;
  const { status, statusText, headers, url, redirected } = response;
  const held = new Response(endingWith(response.body, signal), { status, statusText, headers });
  return Object.defineProperties(held, { url: { value: url }, redirected: { value: redirected } });
}

/** A stream that fails, and whose source is cancelled, when a signal aborts. */
function endingWith(body: ReadableStream<Uint8Array<ArrayBuffer>>, signal: AbortSignal): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  let forget = () => {};
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      const end = () => {
        controller.error(signal.reason);
        reader.cancel(signal.reason).catch(() => {});
      };
      if (signal.aborted) return end();
      signal.addEventListener("abort", end, { once: true });
      forget = () => signal.removeEventListener("abort", end);
    },
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (!done) return controller.enqueue(value);
        forget();
        controller.close();
      } catch (error) {
        forget();
        controller.error(error);
      }
    },
    async cancel(reason) {
      forget();
      await reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
}
