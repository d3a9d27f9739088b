// Linear layers in fp8. Inputs are multiplied by the scales of the columns they meet, so that weights need not be: copies of them serve all rows that have these scales,
// which is a block of 128 of most checkpoints. Where a row has one scale for all columns, its sums are multiplied by it.
import { Copies, inputsIn, multiplyFew, multiplyWidened, itemOf, ROWS, widen, widenedBytes } from "./floats";
import { Batch, Linear, WORTH_WIDENING } from "./linear";
import { apartOf, firstOf, rowsOf } from "./row_order";
import { copyBeside, copyInput, multiplyBeside, SOME, widenBeside } from "./wide";

// Weights are widened with an exponent that is too low by 120: inputs make up for one half, sums for the other, so that neither becomes infinite or too small.
// @ts-ignore: decorator
@inline
const HALF: f32 = 1152921504606846976, WHOLE: f32 = HALF * HALF;

// Scales from which on inputs would become infinite; sums make up for all of it there.
// @ts-ignore: decorator
@inline
const LARGE: f32 = 1099511627776;

export function piecesOfFp8(all: Linear, first: u32, end: u32, scratch: usize): void {
  const fours = (all.rows + 3) >> 2;
  const groups = (all.columns + all.group - 1) / all.group;
  const bytes = widenedBytes(all);
  const copies = changetype<Copies>(scratch);
  copies.bytes = bytes;
  copies.inputs = inputsIn(all, scratch);
  for (let piece = first; piece < end; piece++) {
    const batch = changetype<Batch>(all.batches + piece / fours * offsetof<Batch>());
    const row = firstOf(all, piece % fours, 2), apart = apartOf(all, row, 2), over = rowsOf(all, row, apart, 2);
    const step = apart * all.scaleRowBytes, beside = all.wide && batch.count >= SOME;
    for (let r: u32 = 0; r < over;) {
      const at = batch.firstRow + row + r * apart;
      const scales = all.scales + at * all.scaleRowBytes;
      const weights = all.weights + at * all.rowBytes;
      let rows: u32 = 4;
      // Most rows have the scales of those before them.
      if (changetype<usize>(batch) != copies.batch || copies.scales == 0 || over - r < 4 || !haveAll(scales, step, copies.scales, groups)) {
        // Whether scales are in the copies, or in the sums.
        const large = isLarge(scales, groups), inCopies = groups > 1 || large;
        rows = 1;
        while (r + rows < over && (inCopies ? isSame(scales, scales + rows * step, groups) : !isLarge(scales + rows * step, groups))) rows++;
        if (changetype<usize>(batch) != copies.batch || (inCopies ? copies.scales == 0 || !isSame(scales, copies.scales, groups) : copies.scales != 0)) {
          copies.batch = changetype<usize>(batch);
          copies.scales = inCopies ? scales : 0;
          const factor: f32 = large ? 1 : HALF;
          if (beside) copyBeside(all, batch, copies.scales, factor, copies.inputs);
          for (let i: u32 = 0; !beside && i < batch.count; i++) {
            copyInput(all, all.x + itemOf(batch, i) / all.itemsPerInput * all.inputBytes, copies.scales, factor, copies.inputs + i * bytes, 16);
          }
        }
        for (let f: u32 = 0; f < 4; f++) {
          const factor = inCopies ? large ? WHOLE : HALF : load<f32>(scales + min(f, rows - 1) * step) * HALF;
          store<f32>(scratch + offsetof<Copies>("factor0") + (f << 2), factor);
        }
      }
      if (beside) {
        widenBeside<u8>(all, rows, weights, apart * all.rowBytes, scratch + ROWS);
        multiplyBeside(all, batch, row + r * apart, apart, rows, scratch + ROWS, bytes, true, scratch);
      } else if (batch.count < WORTH_WIDENING) multiplyFew<u8>(all, batch, row + r * apart, apart, rows, weights, scratch);
      else {
        widen<u8>(all, rows, weights, apart * all.rowBytes, scratch + ROWS);
        multiplyWidened(all, batch, row + r * apart, apart, rows, scratch + ROWS, scratch);
      }
      r += rows;
    }
  }
}

// Whether four rows have the same scales as another.
function haveAll(scales: usize, step: u32, other: usize, groups: u32): bool {
  let differ: u32 = 0;
  for (let g: u32 = 0; g < groups; g++) {
    const at = scales + (g << 2), same = load<u32>(other + (g << 2));
    differ |= load<u32>(at) ^ same | load<u32>(at + step) ^ same | load<u32>(at + step * 2) ^ same | load<u32>(at + step * 3) ^ same;
  }
  return differ == 0;
}

// Whether a row has such a scale.
function isLarge(scales: usize, groups: u32): bool {
  for (let g: u32 = 0; g < groups; g++) if (abs(load<f32>(scales + (g << 2))) >= LARGE) return true;
  return false;
}

// Whether rows have the same scales.
function isSame(scales: usize, others: usize, groups: u32): bool {
  for (let g: u32 = 0; g < groups; g++) if (load<u32>(scales + (g << 2)) != load<u32>(others + (g << 2))) return false;
  return true;
}
