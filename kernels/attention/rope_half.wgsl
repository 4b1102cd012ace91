//@fragment attention/rope_half
//@needs ROTARY inv_freq
//@gives rotary_pair rotary_frequency
// Rotate-half: element i turns with i + ROTARY / 2.
struct RotaryPair { other: u32, frequency: u32, sign: f32 }

fn rotary_pair(d: u32) -> RotaryPair {
  if (d < ROTARY / 2u) {
    return RotaryPair(d + ROTARY / 2u, d, -1.0);
  }
  return RotaryPair(d - ROTARY / 2u, d - ROTARY / 2u, 1.0);
}

fn rotary_frequency(i: u32) -> f32 {
  return inv_freq[i];
}
