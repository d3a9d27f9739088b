/**
 * Body of a request that goes on with what another cell has begun to answer.
 *
 * @module
 */
import { z } from "zod";
import { GENERATING_PATHS } from "./paths.ts";

/** Choices of one request at most, of all of its prompts. */
export const MOST_STREAMED_CHOICES = 4096;

const digest = z.string().min(1).max(128).optional();

/** The body. */
export const continuationRequest = z.strictObject({
  path: z.enum(GENERATING_PATHS),
  /** As the other cell got it. */
  body: z.string(),
  /** What tokens are drawn with. */
  seed: z.string().regex(/^-?\d{1,40}$/, "must be a whole number, as text"),
  /** Tokens so far, by choice. */
  tokens: z.array(z.array(z.int().min(0))).max(MOST_STREAMED_CHOICES),
  /** What the bits of the other cell's answers depend on; undefined: whoever has the same weights may go on. */
  fingerprint: digest,
  /** Digest of its model's files, which say what tokens mean; undefined where the fingerprint says it. */
  weights: digest,
}).refine(({ fingerprint, weights }) => fingerprint !== undefined || weights !== undefined, {
  message: "must say whom this cell must equal",
  path: ["fingerprint"],
});
