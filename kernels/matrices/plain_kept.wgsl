//@fragment matrices/plain_kept
//@needs MATRIX_M MATRIX_N MATRIX_K LANES TEAM_M CHUNKS lane Place Result operands
//@gives word_of kept_at rows_at sums_at
// What attention needs of matrices besides, in plain WGSL: left operands of a team that outlive their
// place, right ones that lie there row by row, and sums from memory.
var<private> kept: array<vec4<u32>, TEAM_M * CHUNKS>;
var<private> kept_words: u32;

fn word_of(place: Place, at: u32) -> vec4<u32> {
  if (place.kept) {
    return kept[at];
  }
  return operands[at];
}

fn kept_at(at: u32, stride: u32) -> Place {
  let first = kept_words;
  for (var i = 0u; i < MATRIX_M * (MATRIX_K / 8u); i++) {
    kept[first + i] = operands[at + i / (MATRIX_K / 8u) * stride + i % (MATRIX_K / 8u)];
  }
  kept_words += MATRIX_M * (MATRIX_K / 8u);
  return Place(first, MATRIX_K / 8u, false, true);
}

fn rows_at(at: u32, stride: u32) -> Place {
  return Place(at, stride, true, false);
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
