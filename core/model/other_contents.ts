/**
 * What a directory holds instead of files that are read, as errors say it with what to do.
 *
 * @module
 */

/** Files of a directory. */
interface Files {
  open(file: string): Promise<unknown>;
  list?(): Promise<string[]>;
}

/** Files of weights in forms that are not read. */
const OTHER_WEIGHTS = /\.(bin|pth?|onnx|h5|msgpack|ckpt|mlmodel|npz|nemo)$/;

/** The first of files that holds weights in a form that is not read. */
export function otherWeightsAmong(files: Iterable<string>): string | undefined {
  return Iterator.from(files).find((file) => OTHER_WEIGHTS.test(file));
}

/** What weights there are in other forms. */
export async function otherWeights(files: Files): Promise<string> {
  const other = otherWeightsAmong(await files.list?.() ?? []);
  return other === undefined ? "" : `; its weights are in files such as ${other}, and must be saved as safetensors first`;
}

/** What vocabulary there is in another form. */
export async function otherVocabulary(files: Files): Promise<string> {
  return await files.open("tokenizer.model") === null
    ? ""
    : "; its tokenizer.model (SentencePiece) is not read: make a tokenizer.json of it (AutoTokenizer.from_pretrained, then save_pretrained)";
}
