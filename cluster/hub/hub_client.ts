/**
 * Requests to a hub. Redirects are followed here and not by `fetch`: to other origins, where hubs keep large files, no token goes along.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { abortableFetch } from "../../core/net/abortable_fetch.ts";
import { watchSilence } from "../../core/silence.ts";
import type { HubAccess } from "./hub_access.ts";
import { faultOf, HubFault, printable } from "./hub_errors.ts";
import { Patience, type PatienceOptions, TIMING, type Timing } from "./patience.ts";

const MOST_REDIRECTS = 10;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Bytes of an answer that is not a file: pages of listings have some hundred kilobytes. */
const MOST_BYTES = 64 << 20;

/** An answer whose body is read bit by bit. */
export interface OpenAnswer {
  readonly response: Response;
  /** Whether the hub itself gave it, and not whoever it sent us to. */
  readonly own: boolean;
  /** What comes. A body that ends early, or falls silent, is a {@link HubFault}. */
  body(): AsyncGenerator<Uint8Array<ArrayBuffer>>;
  /** Gives up what has not come. */
  close(): Promise<void>;
}

/** Asks one hub. */
export class HubClient {
  readonly access: HubAccess;
  readonly timing: Timing;
  readonly #origin: string;

  constructor(access: HubAccess, timing: Timing = TIMING) {
    this.access = access;
    this.timing = timing;
    this.#origin = new URL(access.endpoint).origin;
  }

  /** Address of a file. */
  fileUrl(repository: string, commit: string, path: string): string {
    return `${this.access.endpoint}/${repository}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
  }

  /**
   * Asks once, and follows redirects.
   *
   * @throws {HubFault} if nobody answers
   * @throws {LatentmeshError} `unauthorized` if this program may not use the network, `not_found` if somebody compresses what comes
   */
  async open(url: string, { headers = {}, signal }: { headers?: Record<string, string>; signal: AbortSignal }): Promise<OpenAnswer> {
    const silence = new AbortController();
    const seconds = this.timing.silentMs / 1000;
    const watch = () => watchSilence(this.timing.silentMs, () => silence.abort(new HubFault(`the server says nothing for ${seconds} s`)));
    const stop = watch();
    try {
      const response = await this.#follow(url, headers, AbortSignal.any([signal, silence.signal]));
      await refuseCompressed(response);
      return this.#answer(response, { silence, watch, signal });
    } catch (error) {
      throw asFault(error, signal);
    } finally {
      stop();
    }
  }

  /** What `@huggingface/hub` asks with: again after faults, and bodies are there whole. @throws {LatentmeshError} when that is no use */
  fetching(options: PatienceOptions, signal: AbortSignal): typeof fetch {
    return async (input) => {
      const url = input instanceof Request ? input.url : String(input);
      const patience = new Patience(options, this.timing);
      for (;;) {
        try {
          return await this.#whole(url, signal);
        } catch (error) {
          if (!(error instanceof HubFault)) throw error;
          await patience.after(error, signal);
        }
      }
    };
  }

  async #whole(url: string, signal: AbortSignal): Promise<Response> {
    const answer = await this.open(url, { headers: { accept: "application/json" }, signal });
    try {
      const fault = faultOf(answer.response);
      if (fault !== null) throw fault;
      const parts: Uint8Array<ArrayBuffer>[] = [];
      let bytes = 0;
      for await (const part of answer.body()) {
        parts.push(part);
        bytes += part.length;
        if (bytes > MOST_BYTES) throw new LatentmeshError("not_found", `Cannot use the answer of ${url}: it has more than ${MOST_BYTES} bytes`);
      }
      const { status, headers } = answer.response;
      return new Response(new Blob(parts), { status, headers });
    } finally {
      await answer.close();
    }
  }

  async #follow(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    const { token } = this.access;
    const seen = new Set<string>();
    for (let at = url;;) {
      if (seen.has(at) || seen.size > MOST_REDIRECTS) {
        throw new HubFault(`redirects lead nowhere (${seen.size} of them, the last to ${originOf(at)})`);
      }
      seen.add(at);
      const authorization: Record<string, string> = token !== null && originOf(at) === this.#origin ? { authorization: `Bearer ${token}` } : {};
      // Compressed on the way, bytes could not be counted.
      const response = await abortableFetch(at, {
        redirect: "manual",
        signal,
        headers: { "user-agent": "latentmesh", "accept-encoding": "identity", ...headers, ...authorization },
      });
      const location = response.headers.get("location");
      if (!REDIRECTS.has(response.status) || location === null) return response;
      await response.body?.cancel();
      const next = URL.parse(location, at);
      if (next === null || !/^https?:$/.test(next.protocol)) {
        throw new HubFault(`the server redirects to "${printable(location)}", which is no address`);
      }
      if (next.protocol === "http:" && at.startsWith("https:")) throw new HubFault(`the server redirects to ${next.origin}, which is not encrypted`);
      at = next.href;
    }
  }

  #answer(
    response: Response,
    { silence, watch, signal }: { readonly silence: AbortController; readonly watch: () => () => void; readonly signal: AbortSignal },
  ): OpenAnswer {
    const reader = response.body?.getReader();
    return {
      response,
      own: originOf(response.url) === this.#origin,
      async *body() {
        try {
          for (;;) {
            const stop = watch();
            const { value, done } = await (reader?.read() ?? Promise.resolve({ value: undefined, done: true })).finally(stop);
            if (done || value === undefined) return;
            yield value as Uint8Array<ArrayBuffer>;
          }
        } catch (error) {
          throw asFault(silence.signal.aborted ? silence.signal.reason : error, signal);
        }
      },
      close: async () => await reader?.cancel().catch(() => {}),
    };
  }
}

/** Whoever compresses all the same knows neither hashes nor ranges of what the hub lists. @throws {LatentmeshError} `not_found` */
async function refuseCompressed({ headers, body, url }: Response): Promise<void> {
  const encoding = headers.get("content-encoding") ?? "";
  if (!/gzip|deflate|br|zstd|compress/i.test(encoding)) return;
  await body?.cancel();
  throw new LatentmeshError(
    "not_found",
    `Cannot use what ${originOf(url)} answers: it is compressed (${printable(encoding)}), which was not asked for; a proxy on the way may do that`,
  );
}

function originOf(url: string): string {
  return URL.parse(url)?.origin ?? url;
}

/** Whatever `fetch` throws. What was given up by whoever asked stays what it is. */
function asFault(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof HubFault || error instanceof LatentmeshError) return error;
  if (error instanceof Deno.errors.NotCapable) {
    return new LatentmeshError("unauthorized", `Cannot ask the hub: ${messageOf(error)}`, { cause: error });
  }
  // Why is said by the cause. It names the address, too, with whatever is signed in it.
  const reason = error instanceof TypeError && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
  const text = reason.replaceAll(/ ?\(?https?:[^\s)]+\)?/g, "").replace(/^error sending request for url: /, "");
  return new HubFault(text, { cause: error });
}
