//@fragment attention/head
//@needs ROTARY D ATTENTION_SCALING $NAME_norm_at rotary_pair rotary_frequency clipped $NAME_raw
//@needs cos_sin positions
//@gives $NAME_Rotation $NAME_rotation $NAME_element_at $NAME_element
// Elements of a query or key head as the cache and the scores want them: norm, clip, RoPE, in this
// order. `scale` is 1/rms where there is a norm and 1 otherwise. $NAME is q or k.

// What an element needs whatever the token, so that it can be loaded before `scale` is known:
// weights of the norm, and the element that it turns with, by `frequency` a position.
struct $NAME_Rotation { norm: f32, other: u32, other_norm: f32, frequency: f32, sign: f32 }

fn $NAME_rotation(head: u32, d: u32) -> $NAME_Rotation {
  let norm = $NAME_norm_at(head, d);
  if (d >= ROTARY) {
    return $NAME_Rotation(norm, d, norm, 0.0, 0.0);
  }
  let pair = rotary_pair(d);
  return $NAME_Rotation(
    norm, pair.other, $NAME_norm_at(head, pair.other), rotary_frequency(pair.frequency), pair.sign,
  );
}

fn $NAME_element_at(token: u32, head: u32, d: u32, rotation: $NAME_Rotation, scale: f32) -> f32 {
  let x = clipped($NAME_raw(token, head * D + d) * scale * rotation.norm);
  if (d >= ROTARY) {
    return x;
  }
  let other = clipped($NAME_raw(token, head * D + rotation.other) * scale * rotation.other_norm);
  let angle = cos_sin(f32(positions[token]) * rotation.frequency) * ATTENTION_SCALING;
  return x * angle.x + other * angle.y * rotation.sign;
}

fn $NAME_element(token: u32, head: u32, d: u32, scale: f32) -> f32 {
  return $NAME_element_at(token, head, d, $NAME_rotation(head, d), scale);
}
