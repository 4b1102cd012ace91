//@fragment attention/fused
//@needs HEADS D QKV_WIDTH V_FIRST qkv
//@gives q_raw k_raw v_raw q_quad k_quad qk_quad v_quad
// q, k and v side by side in one buffer [T, QKV_WIDTH]; v may be k. Numbers are counted from the start of
// a token's q, k or v, quads are four of them.

fn qkv_at(i: u32) -> f32 {
  return qkv[i / 4u][i % 4u];
}

fn q_raw(token: u32, i: u32) -> f32 {
  return qkv_at(token * QKV_WIDTH + i);
}

fn k_raw(token: u32, i: u32) -> f32 {
  return qkv_at(token * QKV_WIDTH + HEADS * D + i);
}

fn v_raw(token: u32, i: u32) -> f32 {
  return qkv_at(token * QKV_WIDTH + V_FIRST + i);
}

fn q_quad(token: u32, quad: u32) -> vec4<f32> {
  return qkv[token * (QKV_WIDTH / 4u) + quad];
}

fn k_quad(token: u32, quad: u32) -> vec4<f32> {
  return qkv[token * (QKV_WIDTH / 4u) + HEADS * (D / 4u) + quad];
}

// A quad of q, or of k with `is_key`.
fn qk_quad(token: u32, quad: u32, is_key: bool) -> vec4<f32> {
  return qkv[token * (QKV_WIDTH / 4u) + quad + select(0u, HEADS * (D / 4u), is_key)];
}

fn v_quad(token: u32, quad: u32) -> vec4<f32> {
  return qkv[token * (QKV_WIDTH / 4u) + V_FIRST / 4u + quad];
}
