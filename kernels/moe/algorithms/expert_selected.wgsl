//@fragment moe/algorithms/expert_selected
//@needs TOP_K FIRST_EXPERT END_EXPERT selected
//@gives is_idle expert_of
// The expert of a workgroup's slot, as it was chosen before.
fn expert_of(group: vec3<u32>, index: u32) -> u32 {
  return u32(selected[group.z * TOP_K + group.y]);
}

// Whether a workgroup has nothing to do. A negative id is huge as u32, so one range check drops
// everything outside.
fn is_idle(group: vec3<u32>, index: u32) -> bool {
  let expert = expert_of(group, index);
  return expert < FIRST_EXPERT || expert >= END_EXPERT;
}
