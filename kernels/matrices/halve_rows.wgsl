//@fragment matrices/halve_rows
//@needs INVOCATIONS ROW_CHUNKS Invocation rows_of_step x_chunk x_place x_CHUNKS x_COLUMNS Chunk chunk_scale peak_share peak_join
//@needs peak_result halves halves_scale halves_of
// Rows as halves, each times the power of two that makes its largest element lie in [2^14, 2^15), so
// that none overflows and small ones keep their digits; halves_scale[row] is its inverse. Such a
// product is exact, so an element differs by no more than its rounding to 11 bits, unless it is smaller
// than 2^-28 of the row's largest.
//
// The chunks of a row are in the order of those of the weight that they meet.
//
// x [rows, K] f32, halves [rows, 8 ROW_CHUNKS] f16 with zeros behind the end of a row
// Workgroup: INVOCATIONS invocations and one row.
const X_CHUNKS = (x_COLUMNS + 7u) / 8u;

fn peak_of(chunk: Chunk) -> f32 {
  let high = max(abs(chunk.lo), abs(chunk.hi));
  return max(max(high.x, high.y), max(high.z, high.w));
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  invocation: Invocation,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let row = group.x + group.y * groups.x;
  if (row >= rows_of_step()) {
    return;
  }
  var peak = 0.0;
  for (var k = invocation.index; k < X_CHUNKS; k += INVOCATIONS) {
    peak = max(peak, peak_of(x_chunk(row, k)));
  }
  peak_share(0u, peak, invocation);
  peak_join(invocation);
  // The exponent as f32 has it; rows of zeros get the smallest, and rows with infinities stay as they are.
  let exponent = bitcast<u32>(peak_result(0u, invocation)) >> 23u;
  let bounded = select(max(exponent, 15u), 141u, exponent > 254u);
  let factor = bitcast<f32>((268u - bounded) << 23u);
  for (var k = invocation.index; k < ROW_CHUNKS; k += INVOCATIONS) {
    var chunk = Chunk();
    if (k < X_CHUNKS) {
      chunk = chunk_scale(x_chunk(row, x_place(k / x_CHUNKS, k % x_CHUNKS)), factor);
    }
    halves[row * ROW_CHUNKS + k] = halves_of(chunk);
  }
  if (invocation.index == 0u) {
    halves_scale[row] = bitcast<f32>((bounded - 14u) << 23u);
  }
}
