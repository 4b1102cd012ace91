//@fragment reduce/lane_sum_workgroup
//@needs INVOCATIONS LANES
//@gives lane_sum
// Sums over LANES neighbouring invocations through workgroup memory, for devices without subgroups;
// every one of them gets the sum, in the order that the subgroup version uses.
var<workgroup> lane_sums: array<vec4<f32>, INVOCATIONS>;

fn lane_sum(value: vec4<f32>, index: u32) -> vec4<f32> {
  var sum = value;
  for (var reach = LANES / 2u; reach > 0u; reach >>= 1u) {
    lane_sums[index] = sum;
    workgroupBarrier();
    sum += lane_sums[index ^ reach];
    workgroupBarrier();
  }
  return sum;
}
