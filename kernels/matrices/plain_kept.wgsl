//@fragment matrices/plain_kept
//@needs MATRIX_M MATRIX_N MATRIX_K LANES lane Place half_of Result operands
//@gives kept_at multiply_kept rows_at sums_at
// What attention needs of matrices besides, in plain WGSL: a left operand that outlives its place, a
// right one that lies there row by row, and sums from memory.
alias Kept = array<f32, MATRIX_M * MATRIX_K>;

fn kept_at(at: u32, stride: u32) -> Kept {
  var kept: Kept;
  for (var i = 0u; i < MATRIX_M * MATRIX_K; i++) {
    kept[i] = half_of(Place(at, stride, false), i / MATRIX_K, i % MATRIX_K);
  }
  return kept;
}

fn multiply_kept(left: Kept, right: Place, sum: Result) -> Result {
  var kept = left;
  var result = sum;
  for (var i = 0u; lane + i * LANES < MATRIX_M * MATRIX_N; i++) {
    let element = lane + i * LANES;
    for (var k = 0u; k < MATRIX_K; k++) {
      result[i] += kept[element / MATRIX_N * MATRIX_K + k] * half_of(right, element % MATRIX_N, k);
    }
  }
  return result;
}

fn rows_at(at: u32, stride: u32) -> Place {
  return Place(at, stride, true);
}

fn sums_at(at: u32, stride: u32) -> Result {
  var result: Result;
  for (var i = 0u; lane + i * LANES < MATRIX_M * MATRIX_N; i++) {
    let element = lane + i * LANES;
    let column = element % MATRIX_N;
    result[i] = bitcast<f32>(operands[at + element / MATRIX_N * stride + column / 4u][column % 4u]);
  }
  return result;
}
