//@fragment attention/rope_none
//@gives rotary_pair rotary_frequency
// No rotary embedding: ROTARY is 0, so none of this runs.
struct RotaryPair { other: u32, frequency: u32, sign: f32 }

fn rotary_pair(d: u32) -> RotaryPair {
  return RotaryPair(d, 0u, 0.0);
}

fn rotary_frequency(i: u32) -> f32 {
  return 0.0;
}
