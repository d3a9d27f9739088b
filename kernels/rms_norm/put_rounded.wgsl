
// In f16, too.
fn put(at: u32, value: Values) {
  y[at] = value;
  rounded[at] = half_quad(value);
}
