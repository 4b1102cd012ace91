//@fragment reduce/lane_sum_subgroup
//@needs LANES
//@gives lane_sum
// Sums over the LANES neighbouring invocations of a subgroup; every one of them gets the sum. A
// butterfly of shuffles works for any subgroup of at least LANES invocations, in a fixed order.
fn lane_sum(value: vec4<f32>, index: u32) -> vec4<f32> {
  var sum = value;
  for (var reach = LANES / 2u; reach > 0u; reach >>= 1u) {
    sum += subgroupShuffleXor(sum, reach);
  }
  return sum;
}
