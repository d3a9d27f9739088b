// Which rows make a piece. The order of rows changes no sum, but how quickly weights come from memory: rows of a piece are a share of a block apart, and those of the next
// piece come after them, so that each is a stream that a processor follows. Several short rows beside each other, a few columns of each in turn, are none.
// `size`: the power of two that says how many rows a piece has; of the last block of a matrix some have fewer.
import { Linear } from "./linear";

// @ts-ignore: decorator
@inline
export function firstOf(all: Linear, piece: u32, size: u32): u32 {
  const shift = all.blockShift - size;
  return (piece >> shift << all.blockShift) + (piece & (1 << shift) - 1);
}

// How far apart the rows of a piece are whose first one is given.
// @ts-ignore: decorator
@inline
export function apartOf(all: Linear, row: u32, size: u32): u32 {
  return blockOf(all, row) + (1 << size) - 1 >> size;
}

// How many they are.
// @ts-ignore: decorator
@inline
export function rowsOf(all: Linear, row: u32, apart: u32, size: u32): u32 {
  const block = blockOf(all, row);
  return (block & (1 << size) - 1) == 0 ? 1 << size : (block - (row & (1 << all.blockShift) - 1) + apart - 1) / apart;
}

// Rows of the block in which one is: the last block has what is left.
// @ts-ignore: decorator
@inline
function blockOf(all: Linear, row: u32): u32 {
  return min<u32>(1 << all.blockShift, all.rows - (row >> all.blockShift << all.blockShift));
}
