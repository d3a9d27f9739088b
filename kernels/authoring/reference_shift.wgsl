// A score exceeds the reference of its row by MARGIN, or there is none yet: it moves to the largest score, which the LANES threads of a row find together.
for (var distance = 1u; distance < LANES; distance *= 2u) {
  highest = max(highest, subgroupShuffleXor(highest, distance));
}
let shift = select(0.0, highest, begins || highest > MARGIN);
// What is relative to no score yet is zero, and may be scaled by anything finite.
let shrink = select(exp2(-shift), 1.0, begins);
reference += shift;
total *= shrink;
if (my_lane == 0u) {
  memory.factors[my_row] = shrink;
}
added = 0.0;
