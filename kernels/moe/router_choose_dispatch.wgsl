//@fragment moe/router_choose_dispatch
//@needs INVOCATIONS COLUMNS Invocation load_logits choose step
// The second dispatch of a router whose workgroups cannot hand over by ticket: chooses from the
// logits that `router` left.
//
// Grid: tile of COLUMNS tokens.

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let first_column = group.x * COLUMNS;
  load_logits(first_column, invocation);
  choose(first_column, min(COLUMNS, step.x - first_column), invocation);
}
