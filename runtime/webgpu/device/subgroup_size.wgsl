// Writes the number of invocations of a subgroup: the adapter only tells a range.
@group(0) @binding(0) var<storage, read_write> result: array<u32>;

@compute @workgroup_size(64)
fn main(
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_size) size: u32,
) {
  if (index == 0u) {
    result[0] = size;
  }
}
