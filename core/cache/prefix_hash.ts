/**
 * Names of prompt prefixes: a chain of hashes, one per whole block, so that equal names mean equal tokens from the very beginning.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";

/** Tokens that are hashed before the event loop turns: about a millisecond. */
const TURN_TOKENS = 4096;

/**
 * Salt of a prompt's hashes: whose it is, and by which list its tokens are rotated where there are two (`shortPositions` of core/model/rope.ts, 0: there is one).
 * Latents of a short prompt are not those of the beginning of a long one.
 */
export function prefixSalt(client: string, tokens: number, shortPositions: number): string {
  return tokens <= shortPositions ? `${client}\0short` : client;
}

/**
 * Hash of every whole block of a prompt, chained: hash i covers tokens 0 … (i + 1) · blockTokens.
 *
 * @param salt whose prompts these are: prompts of others have other names, so that nobody can find out by timing what others asked
 */
export function prefixHashes(tokens: readonly number[], blockTokens: number, salt: string): string[] {
  const hashes: string[] = [];
  for (const some of hashing(tokens, blockTokens, salt)) hashes.push(...some);
  return hashes;
}

interface Known {
  readonly blockTokens: number;
  readonly salt: string;
  readonly hashes: Promise<readonly string[]>;
}

const known = new WeakMap<readonly number[], Known>();

/**
 * The same without holding the event loop for long; of a prompt that several requests share, which must not change, only once.
 *
 * @returns a promise only where it takes long
 */
export function prefixHashesInTurns(tokens: readonly number[], blockTokens: number, salt: string): readonly string[] | Promise<readonly string[]> {
  if (tokens.length <= TURN_TOKENS) return prefixHashes(tokens, blockTokens, salt);
  const before = known.get(tokens);
  if (before?.blockTokens === blockTokens && before.salt === salt) return before.hashes;
  const hashes = inTurns(tokens, blockTokens, salt);
  known.set(tokens, { blockTokens, salt, hashes });
  return hashes;
}

async function inTurns(tokens: readonly number[], blockTokens: number, salt: string): Promise<readonly string[]> {
  const hashes: string[] = [];
  for (const some of hashing(tokens, blockTokens, salt)) {
    hashes.push(...some);
    await setImmediate();
  }
  return hashes;
}

/**
 * Names of the beginnings of a text, for those who have no tokens of it: name i covers bytes 0 … (i + 1) · blockBytes, and the last one what is left behind whole blocks,
 * if it is one of the first `most`.
 *
 * @param salt see {@link prefixHashes}
 * @returns one name at least
 */
export function textPrefixNames(text: Uint8Array, options: { readonly blockBytes: number; readonly most: number; readonly salt: string }): string[] {
  const { blockBytes, most, salt } = options;
  let before = createHash("sha256").update(salt).digest();
  const names: string[] = [];
  do {
    const begin = names.length * blockBytes;
    before = createHash("sha256").update(before).update(text.subarray(begin, begin + blockBytes)).digest();
    names.push(before.toString("base64url", 0, 16));
  } while (names.length < most && names.length * blockBytes < text.length);
  return names;
}

/** As many at a time as may hold the event loop. */
function* hashing(tokens: readonly number[], blockTokens: number, salt: string): Generator<string[]> {
  let before = createHash("sha256").update(salt).digest();
  let some: string[] = [];
  for (let end = blockTokens; end <= tokens.length; end += blockTokens) {
    before = createHash("sha256").update(before).update(Uint32Array.from(tokens.slice(end - blockTokens, end))).digest();
    some.push(before.toString("base64"));
    if (some.length * blockTokens < TURN_TOKENS) continue;
    yield some;
    some = [];
  }
  yield some;
}
