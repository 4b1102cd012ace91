//@fragment attention/mla/latent
//@needs ATTENTION_SCALING D L EPS KV_WIDTH KV_FIRST INVOCATIONS rotary_pair cos_sin positions
//@needs rotary_frequency kv kv_norm Invocation sum_share sum_join sum_result cache_row sequence_ids
//@needs keys_store Chunk
//@gives store_latent rotary_angle
// Brings the latent of a token, normed, and the key that turns into the cache.
//
// kv [T, KV_WIDTH] f32, of which the D = L + R columns from KV_FIRST on are meant; keys: rows of D

fn rotary_angle(token: u32, d: u32) -> vec2<f32> {
  let frequency = rotary_frequency(rotary_pair(d).frequency);
  return cos_sin(f32(positions[token]) * frequency) * ATTENTION_SCALING;
}

fn latent_element(token: u32, d: u32, scale: f32) -> f32 {
  let first = token * KV_WIDTH + KV_FIRST;
  if (d < L) {
    return kv[first + d] * scale * kv_norm[d];
  }
  let pair = rotary_pair(d - L);
  let angle = rotary_angle(token, d - L);
  return kv[first + d] * angle.x + kv[first + L + pair.other] * angle.y * pair.sign;
}

fn store_latent(token: u32, invocation: Invocation) {
  let row = cache_row(u32(sequence_ids[token]), u32(positions[token]), 0u);
  var square = 0.0;
  for (var first = invocation.index; first < L; first += 4u * INVOCATIONS) {
    //@repeat i 4
    let x_$i = kv[token * KV_WIDTH + KV_FIRST + min(first + $i * INVOCATIONS, L - 1u)];
    //@end
    //@repeat i 4
    square += select(0.0, x_$i * x_$i, first + $i * INVOCATIONS < L);
    //@end
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  let scale = inverseSqrt(sum_result(0u, invocation) / f32(L) + EPS);
  for (var c = invocation.index; c < D / 8u; c += INVOCATIONS) {
    let d = c * 8u;
    keys_store(row, c, Chunk(
      vec4(
        latent_element(token, d, scale), latent_element(token, d + 1u, scale),
        latent_element(token, d + 2u, scale), latent_element(token, d + 3u, scale),
      ),
      vec4(
        latent_element(token, d + 4u, scale), latent_element(token, d + 5u, scale),
        latent_element(token, d + 6u, scale), latent_element(token, d + 7u, scale),
      ),
    ));
  }
}
