// Linear layers whose weights are floats. Every output is one sum of four lanes over the columns in order, whatever else is computed beside it, so that it does not
// depend on how many items or threads there are.
import { exp4, loadFew, storeFew } from "../device/wasm/simd";
import { Copies, inputsIn, multiplyFew, multiplyWidened, ROWS, widen, widenedBytes } from "./floats";
import { piecesOfFp8 } from "./fp8";
import { copyBeside, multiplyBeside, SOME, widenBeside } from "./wide";
import { apartOf, firstOf, rowsOf } from "./row_order";

// @ts-ignore: decorator
@unmanaged
export class Linear {
  weights: usize;
  scales: usize;
  x: usize;
  y: usize;
  batches: usize;
  format: u32;
  columns: u32;
  rowBytes: u32;
  scaleRowBytes: u32;
  group: u32;
  inputBytes: u32;
  itemsPerInput: u32;
  outputs: u32;
  adds: u32;
  firstOutput: u32;
  rows: u32;
  // The power of two of the rows of a block, see row_order.as.
  blockShift: u32;
  // The power of two of the rows of a piece, where there is a choice.
  pieceShift: u32;
  // Whether two vectors beside each other are one instruction, see wide.as.
  wide: u32;
}

// Items that one matrix multiplies: of a list, or every step-th.
// @ts-ignore: decorator
@unmanaged
export class Batch {
  firstRow: u32;
  list: usize;
  first: u32;
  step: u32;
  count: u32;
}

// A piece is four rows of one batch.
export function linear(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Linear>(args);
  switch (all.format) {
    case 0: return pieces<f32>(all, first, end, scratch);
    case 1: return pieces<i16>(all, first, end, scratch);
    case 2: return pieces<u16>(all, first, end, scratch);
    case 3: return piecesOfFp8(all, first, end, scratch);
  }
}

// Items from which on weights are widened into memory first, which takes as long as multiplying two to three items.
export const WORTH_WIDENING: u32 = 16;

function pieces<T>(all: Linear, first: u32, end: u32, scratch: usize): void {
  const fours = (all.rows + 3) >> 2;
  for (let piece = first; piece < end; piece++) {
    const batch = changetype<Batch>(all.batches + piece / fours * offsetof<Batch>());
    const row = firstOf(all, piece % fours, 2), apart = apartOf(all, row, 2), rows = rowsOf(all, row, apart, 2);
    const weights = all.weights + (batch.firstRow + row) * all.rowBytes;
    if (all.wide && batch.count >= SOME) {
      copyOnce(all, batch, scratch);
      if (isFloat<T>()) multiplyBeside(all, batch, row, apart, rows, weights, apart * all.rowBytes, false, scratch);
      else {
        widenBeside<T>(all, rows, weights, apart * all.rowBytes, scratch + ROWS);
        multiplyBeside(all, batch, row, apart, rows, scratch + ROWS, widenedBytes(all), false, scratch);
      }
    } else if (isFloat<T>() || batch.count < WORTH_WIDENING) multiplyFew<T>(all, batch, row, apart, rows, weights, 0);
    else {
      widen<T>(all, rows, weights, apart * all.rowBytes, scratch + ROWS);
      multiplyWidened(all, batch, row, apart, rows, scratch + ROWS, 0);
    }
  }
}

// Sees to it that the inputs of a batch are copied.
export function copyOnce(all: Linear, batch: Batch, scratch: usize): void {
  const copies = changetype<Copies>(scratch);
  if (copies.batch == changetype<usize>(batch)) return;
  copies.batch = changetype<usize>(batch);
  copies.inputs = inputsIn(all, scratch);
  copyBeside(all, batch, 0, 1, copies.inputs);
}

// @ts-ignore: decorator
@unmanaged
class Activate {
  x: usize;
  y: usize;
  columns: u32;
  inputBytes: u32;
}

// y[row] = silu(x[row, k]) · x[row, columns + k]; y: [rows, columns].
export function activate(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Activate>(args);
  const columns = all.columns;
  for (let row = first; row < end; row++) {
    const from = all.x + row * all.inputBytes;
    const values = from + (columns << 2);
    const to = all.y + row * (columns << 2);
    let k: u32 = 0;
    for (; k + 4 <= columns; k += 4) {
      v128.store(to + (k << 2), gated(v128.load(from + (k << 2)), v128.load(values + (k << 2))));
    }
    if (k < columns) storeFew(to + (k << 2), gated(loadFew(from + (k << 2), columns - k), loadFew(values + (k << 2), columns - k)), columns - k);
  }
}

// @ts-ignore: decorator
@inline
function gated(gate: v128, value: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.mul(f32x4.div(gate, f32x4.add(one, exp4(f32x4.neg(gate)))), value);
}
