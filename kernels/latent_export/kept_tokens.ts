/**
 * Which tokens of a sequence a rank keeps, for kernels that cut them out.
 *
 * @module
 */
import type { TokenShare } from "../../core/cache/token_share.ts";
import { constants } from "../authoring/contract.ts";
import keptTokens from "./kept_tokens.wgsl" with { type: "text" };

/** `token_position(index)`, as `tokenPosition` of core/cache/token_share.ts; needs `BLOCK_TOKENS`. */
export function keptTokensWgsl({ index, of }: TokenShare): string {
  return constants({ SHARE: index, SHARES: of }) + keptTokens;
}
