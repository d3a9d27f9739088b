/**
 * What servers of files do wrong.
 *
 * @module
 */

/** Something that goes wrong with an answer. */
export type Fault =
  /** Another status instead. */
  | { readonly kind: "status"; readonly status: number; readonly headers?: Record<string, string> }
  /** To another address, or back to itself, with a number that goes up or without. */
  | { readonly kind: "redirect"; readonly to: string }
  /** The connection ends after so many bytes, or nothing more comes. */
  | { readonly kind: "break" | "stall"; readonly after: number }
  /** It ends well after so many bytes, as if that were all. */
  | { readonly kind: "short"; readonly after: number }
  /** One byte is another. */
  | { readonly kind: "corrupt"; readonly at: number }
  /** The range that was asked for is ignored, or another comes. */
  | { readonly kind: "unranged" }
  | { readonly kind: "other range"; readonly by: number }
  /** It says that the file has so many bytes more, or fewer. */
  | { readonly kind: "other size"; readonly by: number };

/** How bytes are given out. */
export interface Sending {
  /** Told of them. */
  readonly onSent?: (bytes: number) => void;
  readonly bytesPerSecond?: number;
}

/** An answer with a file's bytes `from … to`, or all of them, and what goes wrong with it. */
export function faulty(
  fault: Fault | null,
  bytes: Uint8Array<ArrayBuffer>,
  range: { readonly from: number; readonly to: number } | null,
  url: URL,
  headers: Record<string, string> = {},
  sending: Sending = {},
): Response {
  if (fault?.kind === "status") return new Response("no", { status: fault.status, headers: fault.headers });
  if (fault?.kind === "redirect") return new Response(null, { status: 302, headers: { location: fault.to === "self" ? url.href : fault.to } });
  if (range !== null && range.from >= bytes.length) {
    return new Response(null, { status: 416, headers: { "content-range": `bytes */${bytes.length}` } });
  }
  const { from, to } = range === null || fault?.kind === "unranged" ? { from: 0, to: bytes.length } : range;
  const ranged = range !== null && fault?.kind !== "unranged";
  const begin = Math.max(0, Math.min(to, from + (ranged && fault?.kind === "other range" ? fault.by : 0)));
  const claimed = fault?.kind === "other size" ? fault.by : 0;
  const content = new Uint8Array(Math.max(0, to - begin + claimed));
  content.set(bytes.subarray(begin, Math.min(to, begin + content.length)));
  if (fault?.kind === "corrupt" && content.length > 0) content[fault.at % content.length] ^= 1;
  return new Response(body(fault, content, sending), {
    status: ranged ? 206 : 200,
    headers: {
      ...headers,
      ...ranged ? { "content-range": `bytes ${begin}-${Math.max(begin, begin + content.length - 1)}/${bytes.length + claimed}` } : {},
      "content-type": "application/octet-stream",
      ...fault?.kind === "short" ? {} : { "content-length": String(content.length) },
    },
  });
}

/** Bytes as a network brings them: in pieces. */
const PIECE = 16_384;

function body(
  fault: Fault | null,
  content: Uint8Array<ArrayBuffer>,
  { onSent = () => {}, bytesPerSecond }: Sending,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const ends = fault?.kind === "break" || fault?.kind === "stall" || fault?.kind === "short";
  const end = ends ? Math.min(fault.after, content.length) : content.length;
  let done = 0;
  return new ReadableStream({
    async pull(controller) {
      if (done < end) {
        if (bytesPerSecond !== undefined) await new Promise((resolve) => setTimeout(resolve, PIECE * 1000 / bytesPerSecond));
        const piece = content.subarray(done, Math.min(end, done + PIECE));
        done += piece.length;
        onSent(piece.length);
        return controller.enqueue(piece);
      }
      if (fault?.kind === "stall" && end < content.length) return await new Promise(() => {});
      if (fault?.kind === "break" && end < content.length) return controller.error(new Error("broken off"));
      controller.close();
    },
  }, { highWaterMark: 0 });
}
