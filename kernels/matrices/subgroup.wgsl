//@fragment matrices/subgroup
//@needs MATRIX_M MATRIX_N MATRIX_K
//@gives Left Right Result team_of lane_of
enable f16;
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

fn lane_of(index: u32, place: u32) -> u32 {
  return place;
}
