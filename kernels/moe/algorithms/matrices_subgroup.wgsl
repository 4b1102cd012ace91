//@fragment moe/algorithms/matrices_subgroup
//@needs MATRIX_M MATRIX_N MATRIX_K STRIDE SLAB_STRIDE a_tile b_tile slab
//@gives Result team_of left_at right_at multiply keep
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

// Matrices that a subgroup holds and multiplies together. What they are given is the same for a whole
// subgroup, which Tint cannot know: the number of the subgroup is in it.
alias Left = subgroup_matrix_left<f16, MATRIX_K, MATRIX_M>;
alias Right = subgroup_matrix_right<f16, MATRIX_N, MATRIX_K>;
alias Result = subgroup_matrix_result<f32, MATRIX_N, MATRIX_M>;

fn team_of(index: u32, subgroup: u32) -> u32 {
  return subgroup;
}

fn left_at(at: u32) -> Left {
  return subgroupMatrixLoad<Left>(&a_tile, at, false, STRIDE);
}

fn right_at(at: u32) -> Right {
  return subgroupMatrixLoad<Right>(&b_tile, at, true, STRIDE);
}

fn multiply(left: Left, right: Right, sum: Result, index: u32) -> Result {
  return subgroupMatrixMultiplyAccumulate(left, right, sum);
}

fn keep(at: u32, sum: Result, index: u32) {
  subgroupMatrixStore(&slab, at, sum, false, SLAB_STRIDE);
}
