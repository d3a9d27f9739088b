/**
 * What processes write, line by line.
 *
 * @module
 */

/** Lines of a stream, to its end. */
export async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let held = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    held += text;
    const lines = held.split("\n");
    held = lines.pop()!;
    yield* lines;
  }
  if (held !== "") yield held;
}
