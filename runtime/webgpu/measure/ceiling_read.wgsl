// Reads a buffer once and folds it into one word per thread: the device's read bandwidth.
//
// data   [CHUNKS] vec4<u32>, any contents
// result [threads] u32, written only where the fold meets a value it never has, so that the
//        compiler keeps the loads and the kernel writes nothing
//
// Workgroup: 256 threads and a run of 256 · LOADS vec4; each load of a subgroup is contiguous, and
// loads do not depend on each other, so several are in flight.
// Prelude: LOADS. The grid may be folded into x and y.

@group(0) @binding(0) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> result: array<u32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let first = (group.x + group.y * groups.x) * 256u * LOADS + local;
  var fold = vec4<u32>();
  for (var i = 0u; i < LOADS; i++) {
    fold ^= data[first + i * 256u];
  }
  if ((fold.x ^ fold.y ^ fold.z ^ fold.w) == 0x9e3779b9u) {
    result[local] = first;
  }
}
