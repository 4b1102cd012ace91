//@fragment attention/split
//@needs HEADS D KV_HEADS q k v
//@gives q_raw k_raw v_raw q_quad k_quad qk_quad v_quad
// q, k and v in buffers of their own. Numbers are counted from the start of a token's q, k or v,
// quads are four of them.
fn q_raw(token: u32, i: u32) -> f32 {
  return q[token * HEADS * (D / 4u) + i / 4u][i % 4u];
}

fn k_raw(token: u32, i: u32) -> f32 {
  return k[token * KV_HEADS * (D / 4u) + i / 4u][i % 4u];
}

fn v_raw(token: u32, i: u32) -> f32 {
  return v[token * KV_HEADS * (D / 4u) + i / 4u][i % 4u];
}

fn q_quad(token: u32, quad: u32) -> vec4<f32> {
  return q[token * HEADS * (D / 4u) + quad];
}

fn k_quad(token: u32, quad: u32) -> vec4<f32> {
  return k[token * KV_HEADS * (D / 4u) + quad];
}

// A quad of q, or of k with `is_key`.
fn qk_quad(token: u32, quad: u32, is_key: bool) -> vec4<f32> {
  if (is_key) {
    return k_quad(token, quad);
  }
  return q_quad(token, quad);
}

fn v_quad(token: u32, quad: u32) -> vec4<f32> {
  return v[token * KV_HEADS * (D / 4u) + quad];
}
