//@fragment attention/lane_totals
//@needs LANES STEPS JOINS
//@gives lane_total joined_sum joined_max
// Sums and maxima over lanes, by butterflies of shuffles in a fixed order. STEPS is log2 LANES, JOINS
// log2 of the groups of lanes that meet.

// Sums over the LANES neighbours that share a key, the same in all of them.
fn lane_total(value: f32) -> f32 {
  var sum = value;
  //@repeat s STEPS
  sum += subgroupShuffleXor(sum, 1u << u32($s));
  //@end
  return sum;
}

// Sums, and the largest, of the same lane of JOINED neighbouring groups.
fn joined_sum(value: vec4<f32>) -> vec4<f32> {
  var sum = value;
  //@repeat s JOINS
  sum += subgroupShuffleXor(sum, LANES << u32($s));
  //@end
  return sum;
}

fn joined_max(value: f32) -> f32 {
  var top = value;
  //@repeat s JOINS
  top = max(top, subgroupShuffleXor(top, LANES << u32($s)));
  //@end
  return top;
}
