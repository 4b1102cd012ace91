//@fragment moe/algorithms/finish_down
//@needs output_factor_at bias_at
//@gives finish
// Epilogue of the second product.
fn finish(first: f32, second: f32, row: u32, pair: u32) -> f32 {
  return output_factor_at(pair) * (first + bias_at(row));
}
