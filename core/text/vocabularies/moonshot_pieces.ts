/**
 * How Moonshot's tokenizers (Moonlight, Kimi-K2) cut texts before pairs of bytes are merged. `tiktoken.model` does not say it: it is in the Python file beside it.
 *
 * @module
 */

/** White space as Unicode has it: U+0085 is, U+FEFF is none, other than in JavaScript's `\s`. */
const SPACE = String.raw`\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`;
const HAN = String.raw`\p{Script=Han}`;
const UPPER = String.raw`(?:(?!${HAN})[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])`;
const LOWER = String.raw`(?:(?!${HAN})[\p{Ll}\p{Lm}\p{Lo}\p{M}])`;
/** Without regard to case, where ſ is an s. */
const CONTRACTION = String.raw`(?:'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD]))?`;
const LEADER = String.raw`[^\r\n\p{L}\p{N}]?`;

const PIECES = new RegExp(
  [
    `${HAN}+`,
    `${LEADER}${UPPER}*${LOWER}+${CONTRACTION}`,
    `${LEADER}${UPPER}+${LOWER}*${CONTRACTION}`,
    String.raw`\p{N}{1,3}`,
    String.raw` ?[^${SPACE}\p{L}\p{N}]+[\r\n]*`,
    String.raw`[${SPACE}]*[\r\n]+`,
    String.raw`[${SPACE}]+(?![^${SPACE}])`,
    `[${SPACE}]+`,
  ].join("|"),
  "gu",
);

/** Code points of a text that are cut by themselves, and of a run of white space or of anything else. */
const MOST_TOGETHER = 400_000;
const MOST_IN_RUN = 25_000;

/** Pieces of a text, which together are all of it. */
export function* moonshotPieces(text: string): Generator<string> {
  for (const part of boundedParts(text)) yield* part.match(PIECES) ?? [];
}

/** What Python takes for white space. */
const PYTHON_SPACE = new RegExp(String.raw`[${SPACE}\u001c-\u001f]`, "u");

/** Parts of a text that tiktoken gets by themselves, so that none of its expressions meets too long a run. */
function* boundedParts(text: string): Generator<string> {
  if (text.length <= MOST_IN_RUN) return yield text;
  let [start, at, points, run] = [0, 0, 0, 0];
  let inSpace = false;
  for (const character of text) {
    const isSpace = PYTHON_SPACE.test(character);
    const isSlice = points === MOST_TOGETHER;
    run = isSlice || points === 0 || isSpace !== inSpace ? 1 : run + 1;
    inSpace = isSpace;
    if (isSlice || run > MOST_IN_RUN) {
      yield text.slice(start, at);
      start = at;
      run = 1;
      if (isSlice) points = 0;
    }
    points++;
    at += character.length;
  }
  yield text.slice(start);
}
