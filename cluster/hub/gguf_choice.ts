/**
 * Which of the GGUF files of a repository is meant: they are the same model in several precisions, and each may be in several parts.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { isGguf, partsOf } from "../../core/model/gguf/parts.ts";
import { isPath } from "./hub_name.ts";

/** One model of a repository. */
export interface GgufChoice {
  /** Path of its file in the repository; of several, the first's. */
  readonly file: string;
  /** Paths of all its files. */
  readonly parts: readonly string[];
  /** In which precision it is, as its name says; null if that says nothing. */
  readonly quant: string | null;
}

/** What lies beside models and is none: what encodes images, and what quantising took notes of. */
const NO_MODEL = /(^|[/._-])(mmproj|imatrix)([/._-]|$)/i;

const PART = /-(\d{5})-of-\d{5}(?=\.gguf$)/i;

const QUANT = /(?<=^|[/._-])(?:UD-)?(?:I?Q\d\w*|TQ\d\w*|BF16|F16|F32|FP16|FP32|MXFP4\w*|NVFP4\w*)(?=$|[/.-])/gi;

/** Without being told, the first that is there: what llama.cpp and Ollama take, then what is nearest to it. */
const PREFERRED = ["Q4_K_M", "Q4_K_S", "Q4_K", "Q4_0", "Q4_1", "Q5_K_M", "Q5_K_S", "Q5_0", "Q5_1", "Q6_K", "Q8_0", "Q3_K_M", "Q3_K_L", "Q3_K_S"]
  .concat("Q2_K", "BF16", "F16", "F32");

/** Most names that an error lists. */
const MOST_LISTED = 24;

/** What stands for the usual one. */
const USUAL = "latest";

/** The models among files, the first parts of those that are in several. */
export function ggufChoices(paths: Iterable<string>): GgufChoice[] {
  const choices: GgufChoice[] = [];
  for (const file of paths) {
    if (!isGguf(file) || NO_MODEL.test(file) || !isPath(file)) continue;
    const number = PART.exec(file)?.[1];
    if (number !== undefined && number !== "00001") continue;
    choices.push({ file, parts: partsOf(file), quant: stemOf(file).match(QUANT)?.at(-1) ?? null });
  }
  return choices.sort((a, b) => a.file < b.file ? -1 : 1);
}

/**
 * The one that is meant.
 *
 * @param wanted a file's path, or a precision such as `Q4_K_M`, in upper or lower case; the usual one where it is not said
 * @param model what the repository is called
 * @throws {LatentmeshError} `not_found` that says which there are
 */
export function chooseGguf(paths: Iterable<string>, wanted: string | undefined, model: string): GgufChoice {
  const all = [...paths];
  const choices = ggufChoices(all);
  const refuse = (problem: string): never => {
    throw new LatentmeshError("not_found", `Cannot use ${model}: ${problem}`, { param: "model" });
  };
  if (wanted !== undefined && isGguf(wanted)) {
    const files = all.includes(wanted) && isPath(wanted) ? partsOf(wanted) : refuse(`it has no file ${wanted}${listed(choices, model)}`);
    return { file: wanted, parts: files, quant: null };
  }
  if (choices.length === 0) refuse(`it has no GGUF file${wanted === undefined ? "" : ` (a revision is named by @, not by ":")`}`);
  if (wanted === undefined || wanted.toLowerCase() === USUAL) {
    if (choices.length === 1) return choices[0];
    const found = PREFERRED.map((quant) => choices.filter((choice) => isOf(choice, quant))).find(({ length }) => length > 0);
    if (found?.length === 1) return found[0];
    return refuse(`it has several GGUF files; say which by its precision${listed(choices, model)}`);
  }
  const named = choices.filter(({ file }) => isNamed(file, wanted));
  const exact = named.filter((choice) => isOf(choice, wanted));
  const found = exact.length > 0 ? exact : named;
  if (found.length === 1) return found[0];
  return found.length === 0
    ? refuse(`it has no GGUF file of ${wanted}${listed(choices, model)}`)
    : refuse(`it has several GGUF files of ${wanted}; name one of them as hf:${model.split("@")[0]}/FILE: ${filesOf(found)}`);
}

/** How one is asked for: by its precision, or, where that says too little, by its file. */
export function nameOfChoice({ file, quant }: GgufChoice, all: readonly GgufChoice[]): string {
  return quant !== null && all.filter((other) => isOf(other, quant)).length === 1 ? quant : file;
}

function stemOf(file: string): string {
  return file.replace(PART, "").replace(/\.gguf$/i, "");
}

function isOf({ quant }: GgufChoice, wanted: string): boolean {
  return quant?.toLowerCase() === wanted.toLowerCase();
}

/** Whether it stands in the name as a word: `Q4_K` is not in `Q4_K_M`. */
function isNamed(file: string, wanted: string): boolean {
  return new RegExp(`(^|[/._-])${RegExp.escape(wanted)}($|[/.-])`, "i").test(stemOf(file));
}

function listed(choices: readonly GgufChoice[], model: string): string {
  if (choices.length === 0) return "";
  const names = choices.map((choice) => nameOfChoice(choice, choices));
  const example = names.find((name) => !isGguf(name));
  return `; there ${names.length === 1 ? "is" : "are"} ${short(names)}${example === undefined ? "" : ` (as in ${model}:${example})`}`;
}

function filesOf(choices: readonly GgufChoice[]): string {
  return short(choices.map(({ file }) => file));
}

function short(names: readonly string[]): string {
  return names.length <= MOST_LISTED ? names.join(", ") : `${names.slice(0, MOST_LISTED).join(", ")} and ${names.length - MOST_LISTED} more`;
}
