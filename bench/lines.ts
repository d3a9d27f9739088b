/**
 * What processes write, line by line.
 *
 * @module
 */

/** Lines of a stream, to its end. */
export async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  // A line of megabytes comes in many pieces, which are joined once.
  let held: string[] = [];
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const [first, ...others] = text.split("\n");
    held.push(first);
    if (others.length === 0) continue;
    yield held.join("");
    held = [others.pop()!];
    yield* others;
  }
  const rest = held.join("");
  if (rest !== "") yield rest;
}
