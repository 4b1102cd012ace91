//@fragment moe/algorithms/matrices_plain
//@needs MATRIX_M MATRIX_N MATRIX_K LANES STRIDE SLAB_STRIDE a_tile b_tile slab
//@gives Result team_of left_at right_at multiply keep
// The matrices of a subgroup in plain WGSL, for devices without them: an invocation has every
// LANES-th sum, and an operand stays where it is.
const SUMS = (MATRIX_M * MATRIX_N + LANES - 1u) / LANES;

alias Left = u32;
alias Right = u32;
alias Result = array<f32, SUMS>;

fn team_of(index: u32, subgroup: u32) -> u32 {
  return index / LANES;
}

fn left_at(at: u32) -> Left {
  return at;
}

fn right_at(at: u32) -> Right {
  return at;
}

fn multiply(left: Left, right: Right, sum: Result, index: u32) -> Result {
  var result = sum;
  for (var i = 0u; i < SUMS; i++) {
    let element = index % LANES + i * LANES;
    if (element < MATRIX_M * MATRIX_N) {
      let a = left + element / MATRIX_N * STRIDE;
      let b = right + element % MATRIX_N * STRIDE;
      for (var k = 0u; k < MATRIX_K; k++) {
        result[i] += f32(a_tile[a + k]) * f32(b_tile[b + k]);
      }
    }
  }
  return result;
}

fn keep(at: u32, sum: Result, index: u32) {
  var copy = sum;
  for (var i = 0u; i < SUMS; i++) {
    let element = index % LANES + i * LANES;
    if (element < MATRIX_M * MATRIX_N) {
      slab[at + element / MATRIX_N * SLAB_STRIDE + element % MATRIX_N] = copy[i];
    }
  }
}
