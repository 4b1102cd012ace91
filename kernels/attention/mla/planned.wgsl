//@fragment attention/mla/planned
//@needs NOT_EXPANDED plan sequence_ids
//@gives is_expanded first_place
// What `plan.wgsl` has found.

// Where the first token of a sequence stands among those that are expanded.
fn first_place(sequence: u32) -> u32 {
  return plan[2u + sequence];
}

fn is_expanded(token: u32) -> bool {
  return first_place(u32(sequence_ids[token])) != NOT_EXPANDED;
}
