// In rank order: the others before this rank, its own, the others after it.
fn summed(at: u32) -> Values {
  let stride = params.rows * PART_VALUES;
  let mine = widened(own_part[at]);
  var sum = mine;
  @unroll(r, RANK) {
    {
      let part = widened(other_parts[{r}u * stride + at]);
      if ({r}u == 0u) {
        sum = part;
      } else {
        sum += part;
      }
    }
  }
  if (RANK > 0u) {
    sum += mine;
  }
  @unroll(r, OTHERS_AFTER) {
    sum += widened(other_parts[(RANK + {r}u) * stride + at]);
  }
  return sum;
}
