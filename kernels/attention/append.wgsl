//@fragment attention/append
//@needs HEADS KV_HEADS NORM NORM_ALL D EPS INVOCATIONS step q_quad k_quad ready q_element
//@needs sequence_ids positions cache_row keys_store Chunk k_element values_store clipped v_raw
//@needs VALUE_NORM VALUE_EPS
// Brings the tokens of a step into the cache, and their queries into `ready`.
//
// q, k, v       [T, heads · D] f32, fused or not
// keys, values  the cache; ready [T, HEADS · D] f32: queries after norm, clip and RoPE
// One workgroup a token.

var<workgroup> squares: array<f32, HEADS + 2u * KV_HEADS>;

// 1/rms of a head, or of all heads together; heads of k come after those of q, those of v last.
fn scale_of(slot: u32) -> f32 {
  if (!NORM) {
    return 1.0;
  }
  if (!NORM_ALL) {
    return inverseSqrt(squares[slot] / f32(D) + EPS);
  }
  let first = select(HEADS, 0u, slot < HEADS);
  let count = select(KV_HEADS, HEADS, slot < HEADS);
  var sum = 0.0;
  for (var h = first; h < first + count; h++) {
    sum += squares[h];
  }
  return inverseSqrt(sum / f32(count * D) + EPS);
}

fn value_at(token: u32, head: u32, d: u32) -> f32 {
  let x = v_raw(token, head * D + d);
  if (!VALUE_NORM) {
    return clipped(x);
  }
  return clipped(x * inverseSqrt(squares[HEADS + KV_HEADS + head] / f32(D) + VALUE_EPS));
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.x + group.y * groups.x;
  if (token >= step.x) {
    return;
  }
  if (NORM || VALUE_NORM) {
    let heads = HEADS + select(1u, 2u, VALUE_NORM) * KV_HEADS;
    for (var h = index; h < heads; h += INVOCATIONS) {
      var sum = 0.0;
      for (var quad = 0u; quad < D / 4u; quad++) {
        var x = vec4<f32>();
        if (h < HEADS) {
          x = q_quad(token, h * (D / 4u) + quad);
        } else if (h >= HEADS + KV_HEADS) {
          let i = (h - HEADS - KV_HEADS) * D + quad * 4u;
          x = vec4(v_raw(token, i), v_raw(token, i + 1u), v_raw(token, i + 2u), v_raw(token, i + 3u));
        } else {
          x = k_quad(token, (h - HEADS) * (D / 4u) + quad);
        }
        sum += dot(x, x);
      }
      squares[h] = sum;
    }
  }
  workgroupBarrier();
  for (var i = index; i < HEADS * D; i += INVOCATIONS) {
    ready[token * HEADS * D + i] = q_element(token, i / D, i % D, scale_of(i / D));
  }
  let sequence = u32(sequence_ids[token]);
  let position = u32(positions[token]);
  for (var c = index; c < KV_HEADS * D / 8u; c += INVOCATIONS) {
    let head = c / (D / 8u);
    let d = (c % (D / 8u)) * 8u;
    let scale = scale_of(HEADS + head);
    let row = cache_row(sequence, position, head);
    keys_store(row, d / 8u, Chunk(
      vec4(
        k_element(token, head, d, scale), k_element(token, head, d + 1u, scale),
        k_element(token, head, d + 2u, scale), k_element(token, head, d + 3u, scale),
      ),
      vec4(
        k_element(token, head, d + 4u, scale), k_element(token, head, d + 5u, scale),
        k_element(token, head, d + 6u, scale), k_element(token, head, d + 7u, scale),
      ),
    ));
    values_store(row, d / 8u, Chunk(
      vec4(
        value_at(token, head, d), value_at(token, head, d + 1u),
        value_at(token, head, d + 2u), value_at(token, head, d + 3u),
      ),
      vec4(
        value_at(token, head, d + 4u), value_at(token, head, d + 5u),
        value_at(token, head, d + 6u), value_at(token, head, d + 7u),
      ),
    ));
  }
}
