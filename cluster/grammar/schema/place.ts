/**
 * Where schemas stand in a document. A place knows its last step and the place that the step is taken from: as text a deep document's places would take as much
 * as all of its steps for every part, so that text is made only for who has to be told.
 *
 * @module
 */

/** A place in a document. */
export interface Place {
  /** null: the document itself. */
  readonly from: Place | null;
  /** A name or number, as JSON pointers write it. */
  readonly step: string;
}

/** The document itself. */
export const ROOT: Place = { from: null, step: "#" };

/** Characters that are told of a path, of one of its steps, and of anything else. */
const PATH_LENGTH = 240;
const STEP_LENGTH = 60;
const QUOTED_LENGTH = 120;

/** What further steps lead to. */
export function below(place: Place, ...steps: readonly string[]): Place {
  return steps.reduce((from, step) => ({ from, step }), place);
}

/** A name as a step of a path. */
export function pointerStep(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

/** The path to a place, such as `#/properties/a`; of a long one, how it begins and ends. */
export function pathTo(place: Place): string {
  const steps: string[] = [];
  for (let at: Place | null = place; at !== null; at = at.from) steps.push(shortened(at.step, STEP_LENGTH));
  return shortened(steps.reverse().join("/"), PATH_LENGTH);
}

/** A text in quotes, as a message can hold it. */
export function quoted(text: string): string {
  return JSON.stringify(shortened(text, QUOTED_LENGTH));
}

/** How a text begins and ends, if it is longer. */
function shortened(text: string, most: number): string {
  if (text.length <= most) return text;
  const kept = (most - 1) >> 1;
  return `${text.slice(0, kept)}…${text.slice(-kept)}`;
}
