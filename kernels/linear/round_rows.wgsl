//@fragment linear/round_rows
//@needs THREADS GROUPS K GROUP Lanes rows_of_step x peak_put peak_meet scale_of peak_get y
//@needs round_e4m3
// y = x rounded through E4M3, with a scale from the checkpoint or amax / 448 of every GROUP columns
// of a row.
//
// x, y [rows, K] f32
// Workgroup: THREADS invocations and one group of one row.

@compute @workgroup_size(THREADS)
fn main(
  lanes: Lanes,
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
  for (var k = first + lanes.index; k < end; k += THREADS) {
    peak = max(peak, abs(x[row + k]));
  }
  peak_put(0u, peak, lanes);
  peak_meet(lanes);
  let scale = scale_of(peak_get(0u, lanes));
  for (var k = first + lanes.index; k < end; k += THREADS) {
    y[row + k] = round_e4m3(x[row + k], scale);
  }
}
