//@fragment eager/topk
//@needs INVOCATIONS K LOWEST Invocation lines line_size x_get peak_share peak_join peak_result
//@needs distance_share distance_join distance_result y indices
// The K largest of each row, descending, with their indices; ties to the smaller index.
//
// Each round takes the best of those that come after the one before, so nothing is marked or moved.
// Workgroup: INVOCATIONS invocations and one row. An index travels as the float of its distance
// from the end, exact up to 2^24, so that the larger one is the smaller index.

@compute @workgroup_size(INVOCATIONS)
fn main(
  invocation: Invocation,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let line = group.x + group.y * groups.x;
  if (line >= lines()) {
    return;
  }
  let size = line_size();
  var last_value = 0.0;
  var last_index = 0u;
  for (var round = 0u; round < K; round++) {
    var best = LOWEST;
    var index = size;
    for (var i = invocation.index; i < size; i += INVOCATIONS) {
      let x = max(x_get(line * size + i), LOWEST);
      let after = round == 0u || x < last_value || (x == last_value && i > last_index);
      if (after && (index == size || x > best)) {
        best = x;
        index = i;
      }
    }
    peak_share(0u, best, invocation);
    peak_join(invocation);
    let value = peak_result(0u, invocation);
    distance_share(0u, select(0.0, f32(size - index), index < size && best == value), invocation);
    distance_join(invocation);
    last_value = value;
    last_index = size - u32(distance_result(0u, invocation));
    if (invocation.index == 0u) {
      y[line * K + round] = x_get(line * size + last_index);
      indices[line * K + round] = i32(last_index);
    }
    workgroupBarrier();
  }
}
