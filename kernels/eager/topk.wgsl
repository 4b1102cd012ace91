//@fragment eager/topk
//@needs THREADS K LOWEST Lanes lines line_size x_get peak_put peak_meet peak_get distance_put
//@needs distance_meet distance_get y indices
// The K largest of each row, descending, with their indices; ties to the smaller index.
//
// Each round takes the best of those that come after the one before, so nothing is marked or
// moved. Workgroup: THREADS invocations and one row. An index travels as the float of its distance
// from the end, exact up to 2^24, so that the larger one is the smaller index.

@compute @workgroup_size(THREADS)
fn main(
  lanes: Lanes,
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
    for (var i = lanes.index; i < size; i += THREADS) {
      let x = max(x_get(line * size + i), LOWEST);
      let after = round == 0u || x < last_value || (x == last_value && i > last_index);
      if (after && (index == size || x > best)) {
        best = x;
        index = i;
      }
    }
    peak_put(0u, best, lanes);
    peak_meet(lanes);
    let value = peak_get(0u, lanes);
    distance_put(0u, select(0.0, f32(size - index), index < size && best == value), lanes);
    distance_meet(lanes);
    last_value = value;
    last_index = size - u32(distance_get(0u, lanes));
    if (lanes.index == 0u) {
      y[line * K + round] = x_get(line * size + last_index);
      indices[line * K + round] = i32(last_index);
    }
    workgroupBarrier();
  }
}
