// q, k and v side by side in one buffer: [T, (HEADS + 2 · KV_HEADS) · D].
const QKV_WIDTH = (HEADS + 2u * KV_HEADS) * D;

fn q_raw(token: u32, i: u32) -> f32 {
  return qkv[token * QKV_WIDTH + i];
}

fn k_raw(token: u32, i: u32) -> f32 {
  return qkv[token * QKV_WIDTH + HEADS * D + i];
}

fn v_raw(token: u32, i: u32) -> f32 {
  return qkv[token * QKV_WIDTH + (HEADS + KV_HEADS) * D + i];
}
