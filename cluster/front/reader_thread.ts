/**
 * The thread that reads and writes large bodies for a front: one after the other, in the order in which they come.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { toHttpError } from "../api/errors.ts";
import type { BodyAnswer, BodyTask } from "./body_tasks.ts";
import { writeContinuation } from "./continuation.ts";
import { readFrontRequest } from "./front_request.ts";

const scope = self as DedicatedWorkerGlobalScope;

scope.onmessage = ({ data: task }: MessageEvent<BodyTask>) => {
  let answer: BodyAnswer;
  const given: ArrayBuffer[] = [];
  try {
    if (task.kind === "read") {
      answer = { done: readFrontRequest(task.path, task.body, task.client) };
    } else {
      const written = writeContinuation(task.continuation);
      given.push(written.buffer);
      answer = { done: written };
    }
  } catch (error) {
    answer = { error: toHttpError(error).fields };
  }
  scope.postMessage(answer, given);
};
