/**
 * How far one model's predictions are from another's.
 *
 * @module
 */

/** Sums over predictions of an exact and a chosen model. */
export class Divergence {
  #predictions = 0;
  #scored = 0;
  #kl = 0;
  #agree = 0;
  #nllExact = 0;
  #nllChosen = 0;

  /**
   * Adds one prediction.
   *
   * @param exact logits of the exact model, [vocabulary]
   * @param chosen logits of the other
   * @param target the token that followed; null after the last
   */
  add(exact: Float32Array, chosen: Float32Array, target: number | null): void {
    const [a, b] = [summary(exact), summary(chosen)];
    let kl = 0;
    for (let i = 0; i < exact.length; i++) {
      const logp = exact[i] - a.logSumExp;
      kl += Math.exp(logp) * (logp - (chosen[i] - b.logSumExp));
    }
    this.#predictions++;
    this.#kl += kl;
    if (a.best === b.best) this.#agree++;
    if (target === null) return;
    this.#scored++;
    this.#nllExact += a.logSumExp - exact[target];
    this.#nllChosen += b.logSumExp - chosen[target];
  }

  get predictions(): number {
    return this.#predictions;
  }

  /** Mean KL(exact ‖ chosen), in nats. */
  get kl(): number {
    return this.#kl / this.#predictions;
  }

  /** Fraction of predictions whose most probable token is the same. */
  get agreement(): number {
    return this.#agree / this.#predictions;
  }

  /** exp of the mean negative log-likelihood of the targets. */
  get perplexity(): { readonly exact: number; readonly chosen: number } {
    return { exact: Math.exp(this.#nllExact / this.#scored), chosen: Math.exp(this.#nllChosen / this.#scored) };
  }
}

function summary(logits: Float32Array): { logSumExp: number; best: number } {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - logits[best]);
  return { logSumExp: logits[best] + Math.log(sum), best };
}
