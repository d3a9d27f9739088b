/**
 * Entry of a text process: parses bodies, renders chat templates and tokenises, as it is asked on standard input. It has no permissions at all. It ends when its
 * standard input does.
 *
 * @module
 */
import { HttpError, toHttpError } from "../api/errors.ts";
import { FrameReader, writeFrame } from "./frames.ts";
import type { FromTextProcess, ToTextProcess } from "./jobs.ts";
import { prepare } from "./prepare.ts";
import { openTextModel, type TextModel } from "./text_model.ts";
import { warmUp } from "./warm_up.ts";

async function run(): Promise<void> {
  const buffer = new Uint8Array(64 << 10);
  const reader = new FrameReader(async () => {
    const count = await Deno.stdin.read(buffer);
    return count === null ? null : buffer.slice(0, count);
  });
  const output = {
    async write(bytes: Uint8Array<ArrayBuffer>) {
      for (let done = 0; done < bytes.length;) done += await Deno.stdout.write(bytes.subarray(done));
    },
  };
  let model: TextModel | null = null;
  for (let message = await reader.next(); message !== undefined; message = await reader.next()) {
    await writeFrame(output, answer(message as ToTextProcess));
  }

  function answer(message: ToTextProcess): FromTextProcess {
    try {
      if (message.kind === "model") {
        model = openTextModel(message.model);
        warmUp(model);
        return { kind: "ready" };
      }
      return { kind: "done", output: prepare(model!, message.kind, message.input) };
    } catch (error) {
      return { kind: "failed", error: asHttpError(error).fields };
    }
  }
}

/** What is nested too deeply ends in what V8 throws when its stack is full. */
function asHttpError(error: unknown): HttpError {
  return error instanceof RangeError
    ? new HttpError(400, "The request is nested too deeply, or too large", { code: "invalid_value" })
    : toHttpError(error);
}

if (import.meta.main) await run();
