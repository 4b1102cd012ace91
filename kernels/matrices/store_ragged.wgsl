//@fragment matrices/store_ragged
//@needs OUTPUTS y
//@gives store_results
// Four results of one row, those behind its end left out.
fn store_results(row: u32, column: u32, results: vec4<f32>) {
  let at = row * OUTPUTS + column;
  y[at] = results.x;
  if (column + 1u < OUTPUTS) {
    y[at + 1u] = results.y;
  }
  if (column + 2u < OUTPUTS) {
    y[at + 2u] = results.z;
  }
  if (column + 3u < OUTPUTS) {
    y[at + 3u] = results.w;
  }
}
