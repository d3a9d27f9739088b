/**
 * Names of prompt prefixes: a chain of hashes, one per whole block, so that equal names mean equal tokens from the very beginning.
 *
 * @module
 */
import { createHash } from "node:crypto";

/**
 * Hash of every whole block of a prompt, chained: hash i covers tokens 0 … (i + 1) · blockTokens.
 *
 * @param salt whose prompts these are: prompts of others have other names, so that nobody can find out by timing what others asked
 */
export function prefixHashes(tokens: readonly number[], blockTokens: number, salt: string): string[] {
  const hashes: string[] = [];
  let before = createHash("sha256").update(salt).digest();
  for (let end = blockTokens; end <= tokens.length; end += blockTokens) {
    before = createHash("sha256").update(before).update(Uint32Array.from(tokens.slice(end - blockTokens, end))).digest();
    hashes.push(before.toString("base64"));
  }
  return hashes;
}
