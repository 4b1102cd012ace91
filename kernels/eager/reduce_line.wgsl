//@fragment eager/reduce_line
//@needs THREADS LOWEST SOFTMAX MEAN Lanes lines inner line_size x_get peak_put peak_meet peak_get
//@needs sum_put sum_meet sum_get y
// One line of a tensor along a dimension: mean, sum or softmax.
//
// A line has `line_size()` elements that are `inner()` apart. Workgroup: THREADS invocations and
// one line.

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
  let stride = inner();
  let size = line_size();
  let first = (line / stride) * size * stride + line % stride;
  var peak = LOWEST;
  if (SOFTMAX) {
    for (var i = lanes.index; i < size; i += THREADS) {
      peak = max(peak, x_get(first + i * stride));
    }
    peak_put(0u, peak, lanes);
    peak_meet(lanes);
    peak = peak_get(0u, lanes);
  }
  var share = 0.0;
  for (var i = lanes.index; i < size; i += THREADS) {
    let x = x_get(first + i * stride);
    share += select(x, exp(x - peak), SOFTMAX);
  }
  sum_put(0u, share, lanes);
  sum_meet(lanes);
  let total = sum_get(0u, lanes);
  if (SOFTMAX) {
    for (var i = lanes.index; i < size; i += THREADS) {
      y[first + i * stride] = exp(x_get(first + i * stride) - peak) / total;
    }
  } else if (lanes.index == 0u) {
    y[line] = total / select(1.0, f32(size), MEAN);
  }
}
