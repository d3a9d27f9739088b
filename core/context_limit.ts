/**
 * Why a request is too long, and what would make it fit.
 *
 * @module
 */

/** How long sequences may be. */
export interface ContextLimits {
  /** Longest prompt and answer together that can be served. */
  readonly maxContext: number;
  /** Longest sequence that the model is made for; {@link ContextLimits.maxContext} if absent. */
  readonly maxPositions?: number;
}

/** Says what limits `wanted` tokens, of which more than `maxContext` are asked for. */
export function contextLimit(wanted: number, { maxContext, maxPositions = maxContext }: ContextLimits): string {
  if (wanted > maxPositions) return `this model's context holds ${maxPositions}`;
  return `this server's cache holds ${maxContext}; the model's context of ${maxPositions} would do: ` +
    `start it with --max-tokens-total ${wanted} (cache.maxTokens) or more`;
}
