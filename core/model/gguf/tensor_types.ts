/**
 * How GGUF files store tensors.
 *
 * @module
 */

/** Storage of a tensor's rows: so many elements to a block of so many bytes, under the number that files have for it. */
export const GGUF_TENSOR_TYPES = {
  F32: { code: 0, elements: 1, bytes: 4 },
  F16: { code: 1, elements: 1, bytes: 2 },
  Q4_0: { code: 2, elements: 32, bytes: 18 },
  Q4_1: { code: 3, elements: 32, bytes: 20 },
  Q5_0: { code: 6, elements: 32, bytes: 22 },
  Q5_1: { code: 7, elements: 32, bytes: 24 },
  Q8_0: { code: 8, elements: 32, bytes: 34 },
  Q2_K: { code: 10, elements: 256, bytes: 84 },
  Q3_K: { code: 11, elements: 256, bytes: 110 },
  Q4_K: { code: 12, elements: 256, bytes: 144 },
  Q5_K: { code: 13, elements: 256, bytes: 176 },
  Q6_K: { code: 14, elements: 256, bytes: 210 },
  BF16: { code: 30, elements: 1, bytes: 2 },
} as const;

/** Name of a storage type that is read, as llama.cpp calls it. */
export type GgufTensorType = keyof typeof GGUF_TENSOR_TYPES;

/** Those of blocks. */
export type GgufBlockType = Exclude<GgufTensorType, "F32" | "F16" | "BF16">;

/** By their numbers, the names of types that are known and not read. */
const OTHER_TYPES: Readonly<Record<number, string>> = {
  9: "Q8_1",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
  40: "NVFP4",
};

const BY_CODE = new Map(Object.entries(GGUF_TENSOR_TYPES).map(([name, { code }]) => [code as number, name as GgufTensorType]));

/** The type of a number; null if it is none that is read. */
export function ggufTensorType(code: number): GgufTensorType | null {
  return BY_CODE.get(code) ?? null;
}

/** What people call a number's type. */
export function typeName(code: number): string {
  return BY_CODE.get(code) ?? OTHER_TYPES[code] ?? `number ${code}`;
}

/** Whether a stored tensor's elements are in blocks. */
export function isBlockType(dtype: string): dtype is GgufBlockType {
  return Object.hasOwn(GGUF_TENSOR_TYPES, dtype) && GGUF_TENSOR_TYPES[dtype as GgufTensorType].elements > 1;
}

/** Bytes of so many elements, which are whole blocks. */
export function ggufBytes(type: GgufTensorType, elements: number): number {
  const block = GGUF_TENSOR_TYPES[type];
  return elements / block.elements * block.bytes;
}
