/**
 * Names of synthetic models: `synthetic:v2-lite?layers=9&seed=3&int4=32&mtp=1`. They stand where a model directory does.
 *
 * @module
 */
import { LatentmeshError } from "../../errors.ts";
import { type ShapeName, shapeNamed, SHAPES } from "./shapes.ts";

/** What a name says. */
export interface SyntheticName {
  readonly shape: ShapeName;
  readonly layers: number;
  /** Other seeds give other weights. */
  readonly seed: number;
  /** Columns that share a scale, where experts are stored in four bits, as Kimi-K2.5 has them; null: they are not. */
  readonly int4: number | null;
  /** Whether a layer that drafts follows the others. */
  readonly mtp: boolean;
}

const PREFIX = "synthetic:";

/** Beyond it, something else was meant. */
const MOST_LAYERS = 1000;

/** Columns that share a scale of four bits in published models. */
const GROUPS: readonly string[] = ["32", "64", "128"];

/** For help and errors. */
export const SYNTHETIC_HELP = `${PREFIX}NAME?layers=N&seed=S&int4=GROUP&mtp=1, NAME being one of ${Object.keys(SHAPES).join(", ")}`;

/** Whether a model is one without files. */
export function isSynthetic(model: string): boolean {
  return model.startsWith(PREFIX);
}

/** Takes a name apart. @throws {LatentmeshError} `invalid_config` that lists what there is */
export function parseSynthetic(model: string): SyntheticName {
  const refuse = (problem: string): never => {
    throw new LatentmeshError("invalid_config", `Cannot use model "${model}": ${problem} (${SYNTHETIC_HELP})`, { param: "model" });
  };
  const [name, query = "", ...more] = model.slice(PREFIX.length).split("?");
  if (more.length > 0) refuse("it has more than one question mark");
  const parameters = new URLSearchParams(query);
  const strange = [...parameters.keys()].find((key, i, keys) => !["layers", "seed", "int4", "mtp"].includes(key) || keys.indexOf(key) !== i);
  if (strange !== undefined) refuse(`"${strange}" is no parameter, or is there twice`);
  const shape = shapeNamed(name);
  const group = parameters.get("int4");
  if (group !== null && !GROUPS.includes(group)) refuse(`int4 is "${group}"; it must be ${GROUPS.join(" or ")}`);
  const number = (key: string, otherwise: number, [least, most]: readonly [number, number]) => {
    const text = parameters.get(key);
    if (text === null) return otherwise;
    const value = Number(text);
    return /^\d+$/.test(text) && value >= least && value <= most ? value : refuse(`${key} is "${text}"; it must be ${least} … ${most}`);
  };
  return {
    shape,
    layers: number("layers", SHAPES[shape].num_hidden_layers, [1, MOST_LAYERS]),
    seed: number("seed", 1, [0, Number.MAX_SAFE_INTEGER]),
    int4: group === null ? null : Number(group),
    mtp: number("mtp", 0, [0, 1]) === 1,
  };
}
