//@fragment eager/matmul
//@needs size_m size_n size_k a c y
// y[b] = a[b] · c[b] for a batch of matrices: a [.., M, K], c [.., K, N], all f32.
//
// A workgroup owns 16 x 16 results and walks K in steps of 16 through workgroup memory.
// Grid: column tile, row tile, batch.

var<workgroup> tile_a: array<f32, 256>;
var<workgroup> tile_c: array<f32, 256>;

@compute @workgroup_size(16, 16)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_id) local: vec3<u32>,
) {
  let rows = size_m();
  let columns = size_n();
  let depth = size_k();
  let row = group.y * 16u + local.y;
  let column = group.x * 16u + local.x;
  let first_a = (group.z * rows + min(row, rows - 1u)) * depth;
  let first_c = group.z * depth * columns + min(column, columns - 1u);
  var sum = 0.0;
  for (var k = 0u; k < depth; k += 16u) {
    let inside_a = k + local.x < depth;
    let inside_c = k + local.y < depth;
    tile_a[local.y * 16u + local.x] =
      select(0.0, a[first_a + min(k + local.x, depth - 1u)], inside_a);
    tile_c[local.y * 16u + local.x] =
      select(0.0, c[first_c + min(k + local.y, depth - 1u) * columns], inside_c);
    workgroupBarrier();
    //@repeat i 16
    sum = fma(tile_a[local.y * 16u + $i], tile_c[$i * 16u + local.x], sum);
    //@end
    workgroupBarrier();
  }
  if (row < rows && column < columns) {
    y[(group.z * rows + row) * columns + column] = sum;
  }
}
