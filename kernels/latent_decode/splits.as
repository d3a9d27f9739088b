// How many splits a row's attention has (splitCount in splits.ts).

// Of a row whose position wraps around, since it attends to nothing here, none.
// @ts-ignore: decorator
@inline
export function splitsOf(context: u32, stripTokens: u32, mostSplits: u32): u32 {
  return min(mostSplits, (context + stripTokens - 1) / stripTokens);
}
