// q, k and v in buffers of their own.
fn q_raw(token: u32, i: u32) -> f32 {
  return q[token * HEADS * D + i];
}

fn k_raw(token: u32, i: u32) -> f32 {
  return k[token * KV_HEADS * D + i];
}

fn v_raw(token: u32, i: u32) -> f32 {
  return v[token * KV_HEADS * D + i];
}
