/**
 * An engine around another one, which does something with what goes in and comes out.
 *
 * @module
 */
import type { TokenEngine, TokenEvent, TokenRequest } from "./engine.ts";

/** Is in everything but what it generates as the engine inside is. */
export abstract class EngineAround implements TokenEngine {
  protected readonly inner: TokenEngine;

  constructor(inner: TokenEngine) {
    this.inner = inner;
  }

  get maxContext(): number {
    return this.inner.maxContext;
  }

  get maxPositions(): number | undefined {
    return this.inner.maxPositions;
  }

  get ready(): boolean {
    return this.inner.ready;
  }

  get degraded(): string | null {
    return this.inner.degraded ?? null;
  }

  abstract generate(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void>;
}
