//@fragment matrices/store_vec4
//@needs OUTPUTS y
//@gives store_results
// Four results of one row; OUTPUTS is a multiple of 4.
fn store_results(row: u32, column: u32, results: vec4<f32>) {
  y[(row * OUTPUTS + column) / 4u] = results;
}
