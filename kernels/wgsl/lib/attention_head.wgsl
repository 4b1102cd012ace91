// Elements of a query or key head as the cache and the scores want them: norm, clip, RoPE, in this
// order. `scale` is 1/rms where there is a norm and 1 otherwise. $NAME is q or k.
fn $NAME_normed(token: u32, head: u32, d: u32, scale: f32) -> f32 {
  return clipped($NAME_raw(token, head * D + d) * scale * $NAME_norm_at(head, d));
}

fn $NAME_element(token: u32, head: u32, d: u32, scale: f32) -> f32 {
  let x = $NAME_normed(token, head, d, scale);
  if (d >= ROTARY) {
    return x;
  }
  let pair = rotary_pair(d);
  let other = $NAME_normed(token, head, pair.other, scale);
  let angle = rotary_turn(token, pair.frequency);
  return x * angle.x + other * angle.y * pair.sign;
}
