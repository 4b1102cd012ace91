//@fragment eager/reduce_line
//@needs INVOCATIONS LOWEST SOFTMAX MEAN Invocation lines inner line_size x_get peak_share peak_join
//@needs peak_result sum_share sum_join sum_result y
// One line of a tensor along a dimension: mean, sum or softmax.
//
// A line has `line_size()` elements that are `inner()` apart. Workgroup: INVOCATIONS invocations
// and one line.

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
  let stride = inner();
  let size = line_size();
  let first = (line / stride) * size * stride + line % stride;
  var peak = LOWEST;
  if (SOFTMAX) {
    for (var i = invocation.index; i < size; i += INVOCATIONS) {
      peak = max(peak, x_get(first + i * stride));
    }
    peak_share(0u, peak, invocation);
    peak_join(invocation);
    peak = peak_result(0u, invocation);
  }
  var share = 0.0;
  for (var i = invocation.index; i < size; i += INVOCATIONS) {
    let x = x_get(first + i * stride);
    share += select(x, exp(x - peak), SOFTMAX);
  }
  sum_share(0u, share, invocation);
  sum_join(invocation);
  let total = sum_result(0u, invocation);
  if (SOFTMAX) {
    for (var i = invocation.index; i < size; i += INVOCATIONS) {
      y[first + i * stride] = exp(x_get(first + i * stride) - peak) / total;
    }
  } else if (invocation.index == 0u) {
    y[line] = total / select(1.0, f32(size), MEAN);
  }
}
