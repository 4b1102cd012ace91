//@fragment moe/algorithms/finish_up
//@needs MATRICES OUTPUTS input_factor_at expert_activation bias_at
//@gives finish
// Epilogue of the first product; `row` is the row of the up projection in the stacked weight.
fn finish(first: f32, second: f32, row: u32, pair: u32) -> f32 {
  let factor = input_factor_at(pair);
  return expert_activation(
    first * factor + bias_at(row),
    second * factor + bias_at(row + (MATRICES - 1u) * OUTPUTS),
  );
}
