/**
 * The thread that reads large bodies for a front: one after the other, in the order in which they come.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { toHttpError } from "../api/errors.ts";
import { type BodyToRead, readFrontRequest, type ReadRequest } from "./front_request.ts";

const scope = self as DedicatedWorkerGlobalScope;

scope.onmessage = ({ data: { path, body, client } }: MessageEvent<BodyToRead>) => {
  let answer: ReadRequest;
  try {
    answer = { request: readFrontRequest(path, body, client) };
  } catch (error) {
    answer = { error: toHttpError(error).fields };
  }
  scope.postMessage(answer);
};
