//@fragment eager/map
//@needs INVOCATIONS domain store_y y_at element
// One element an invocation: y[y_at(i)] = element(i) for i below the domain's size.
//
// Layout ops and arithmetic are the same kernel: `element` reads the inputs where the op wants them
// and `y_at` says where the result goes.

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let i = (group.x + group.y * groups.x) * INVOCATIONS + index;
  if (i < domain()) {
    store_y(y_at(i), element(i));
  }
}
