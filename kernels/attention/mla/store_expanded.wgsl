//@fragment attention/mla/store_expanded
//@needs HEADS NOPE KEY VALUE expanded_keys expanded_values stored_quad
//@gives store_quad
// Four results of a token's latent times w, whose rows are the key and the value of one head after
// another: to the first NOPE of KEY numbers of a key, and to a value.
fn store_quad(row: u32, column: u32, sum: vec4<f32>) {
  let head = row * HEADS + column / (NOPE + VALUE);
  let i = column % (NOPE + VALUE);
  if (i < NOPE) {
    expanded_keys[(head * KEY + i) / 4u] = stored_quad(sum);
  } else {
    expanded_values[(head * VALUE + i - NOPE) / 4u] = stored_quad(sum);
  }
}
