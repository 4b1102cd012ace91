//@fragment linear/gemm_store_vec4
//@needs N y finish_quad bias_quad residual_quad
//@gives store_quad
// Four results of one row; N is a multiple of 4.
fn store_quad(row: u32, column: u32, sum: vec4<f32>) {
  let at = row * N + column;
  y[at / 4u] = finish_quad(sum + bias_quad(column), at) + residual_quad(at);
}
