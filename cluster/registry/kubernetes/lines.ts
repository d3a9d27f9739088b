/**
 * Lines of a stream.
 *
 * @module
 */

/** A line that is longer is no object of a registry. */
const LONGEST = 4 << 20;

/** Reads lines as they come, without those that are empty. @throws if one is longer than 4 MiB, or the stream breaks off */
export async function* readLines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    if (rest.length > LONGEST) throw new Error(`a line is longer than ${LONGEST} characters`);
    for (const line of lines) if (line.trim() !== "") yield line;
  }
  if (rest.trim() !== "") yield rest;
}
