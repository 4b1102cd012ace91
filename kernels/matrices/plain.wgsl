//@fragment matrices/plain
//@needs MATRIX_M MATRIX_N MATRIX_K LANES operands word_of
//@gives Result Place lane team_of lane_of left_at right_at multiply store_sums
// The matrices of a subgroup in plain WGSL, for devices without them: an invocation has every
// LANES-th sum, and an operand stays where it is.
const SUMS_OF_LANE = (MATRIX_M * MATRIX_N + LANES - 1u) / LANES;

// Where an operand begins, and words from one row to the next: rows have neighbours along K, or,
// `across`, one k each. What is `kept` lies in memory of the invocation.
struct Place { at: u32, stride: u32, across: bool, kept: bool }

alias Result = array<f32, SUMS_OF_LANE>;

var<private> lane: u32;

fn team_of(index: u32, subgroup: u32) -> u32 {
  lane = index % LANES;
  return index / LANES;
}

fn lane_of(index: u32, place: u32) -> u32 {
  return index % LANES;
}

fn left_at(at: u32, stride: u32) -> Place {
  return Place(at, stride, false, false);
}

fn right_at(at: u32, stride: u32) -> Place {
  return Place(at, stride, false, false);
}

fn half_of(place: Place, row: u32, k: u32) -> f32 {
  let line = select(row, k, place.across);
  let along = select(k, row, place.across);
  let word = word_of(place, place.at + line * place.stride + along / 8u);
  let pair = unpack2x16float(word[along / 2u % 4u]);
  return pair[along % 2u];
}

fn multiply(left: Place, right: Place, sum: Result) -> Result {
  var result = sum;
  for (var i = 0u; lane + i * LANES < MATRIX_M * MATRIX_N; i++) {
    let element = lane + i * LANES;
    for (var k = 0u; k < MATRIX_K; k++) {
      result[i] += half_of(left, element / MATRIX_N, k) * half_of(right, element % MATRIX_N, k);
    }
  }
  return result;
}

fn store_sums(at: u32, sum: Result, stride: u32) {
  var copy = sum;
  for (var i = 0u; lane + i * LANES < MATRIX_M * MATRIX_N; i++) {
    let element = lane + i * LANES;
    let column = element % MATRIX_N;
    operands[at + element / MATRIX_N * stride + column / 4u][column % 4u] = bitcast<u32>(copy[i]);
  }
}
