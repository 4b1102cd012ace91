//@fragment attention/rope_interleaved
//@needs inv_freq
//@gives rotary_pair rotary_frequency
// Element 2i turns with 2i + 1.
struct RotaryPair { other: u32, frequency: u32, sign: f32 }

fn rotary_pair(d: u32) -> RotaryPair {
  return RotaryPair(d ^ 1u, d / 2u, select(1.0, -1.0, (d & 1u) == 0u));
}

fn rotary_frequency(i: u32) -> f32 {
  return inv_freq[i];
}
