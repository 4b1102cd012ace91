//@fragment moe/algorithms/reduce
//@needs INVOCATIONS ROW_ELEMENTS TOP_K EXPERTS step residual_element selected output_factor_at rows
//@needs row_of_pair y
// Adds a token's rows over its slots, in slot order, to the residual. Rows of pairs whose id is out
// of range were never written and are not read. One invocation per element of y.

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let i = (group.x + group.y * groups.x) * INVOCATIONS + index;
  if (i >= step.x * ROW_ELEMENTS) {
    return;
  }
  let token = i / ROW_ELEMENTS;
  let column = i % ROW_ELEMENTS;
  var total = residual_element(i);
  for (var slot = 0u; slot < TOP_K; slot++) {
    let pair = token * TOP_K + slot;
    if (u32(selected[pair]) < EXPERTS) {
      total += output_factor_at(pair) * rows[row_of_pair(pair) * ROW_ELEMENTS + column];
    }
  }
  y[i] = total;
}
