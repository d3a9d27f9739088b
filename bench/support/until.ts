/**
 * Waits for what comes about elsewhere.
 *
 * @module
 */

/** Milliseconds after which what is waited for will not come, on any machine. */
const LONGEST_WAIT = 180_000;

/** Looks again and again. @throws {Error} if it does not come about within minutes */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const began = performance.now();
  while (!(await condition())) {
    if (performance.now() - began > LONGEST_WAIT) throw new Error(`It did not come about within ${LONGEST_WAIT / 1000} s: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
