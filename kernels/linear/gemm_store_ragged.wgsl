//@fragment linear/gemm_store_ragged
//@needs N N_END finish_quad bias_quad residual_quad y
//@gives store_quad
// Four results of one row, those behind its end left out.
fn store_quad(row: u32, column: u32, sum: vec4<f32>) {
  let at = row * N + column;
  let result = finish_quad(sum + bias_quad(column), at) + residual_quad(at);
  y[at] = result.x;
  if (column + 1u < N_END) {
    y[at + 1u] = result.y;
  }
  if (column + 2u < N_END) {
    y[at + 2u] = result.z;
  }
  if (column + 3u < N_END) {
    y[at + 3u] = result.w;
  }
}
