//@fragment linear/round_rows
//@needs INVOCATIONS GROUPS K GROUP Invocation rows_of_step x peak_share peak_join scale_of
//@needs peak_result y round_e4m3
// y = x rounded through E4M3, with a scale from the checkpoint or amax / 448 of every GROUP columns
// of a row.
//
// x, y [rows, K] f32
// Workgroup: INVOCATIONS invocations and one group of one row.

@compute @workgroup_size(INVOCATIONS)
fn main(
  invocation: Invocation,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let index = group.x + group.y * groups.x;
  if (index >= rows_of_step() * GROUPS) {
    return;
  }
  let row = index / GROUPS * K;
  let first = index % GROUPS * GROUP;
  let end = min(first + GROUP, K);
  var peak = 0.0;
  for (var k = first + invocation.index; k < end; k += INVOCATIONS) {
    peak = max(peak, abs(x[row + k]));
  }
  peak_share(0u, peak, invocation);
  peak_join(invocation);
  let scale = scale_of(peak_result(0u, invocation));
  for (var k = first + invocation.index; k < end; k += INVOCATIONS) {
    y[row + k] = round_e4m3(x[row + k], scale);
  }
}
