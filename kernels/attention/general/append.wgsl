//@fragment attention/general/append
//@needs HEADS KV_HEADS NORM D NORM_ALL INVOCATIONS EPS V ROTARY ATTENTION_SCALING PACK Invocation
//@needs raw_at sum_share sum_join sum_result clipped norm_at rotary_pair cos_sin positions
//@needs VALUE_NORM VALUE_EPS rotary_frequency ready cache_row sequence_ids keys_store values_store
// Brings the tokens of a step into the cache, and their queries into `ready`, for heads of any size.
//
// q, k, v       [T, heads · D or V] f32, side by side or not
// keys, values  the cache; ready [T, HEADS · D] f32: queries after norm, clip and RoPE
// Grid: token, head; key heads come after query heads, value heads after those.

// Which projection a head of the grid is of: 0 is q, 1 is k, 2 is v.
fn part_of(head: u32) -> u32 {
  return select(select(2u, 1u, head < HEADS + KV_HEADS), 0u, head < HEADS);
}

fn first_of(part: u32) -> u32 {
  return select(select(HEADS + KV_HEADS, HEADS, part == 1u), 0u, part == 0u);
}

// 1/rms of a head, or of all heads of its projection.
fn scale_of(token: u32, part: u32, head: u32, invocation: Invocation) -> f32 {
  let is_value = part == 2u;
  if (!select(NORM, VALUE_NORM, is_value)) {
    return 1.0;
  }
  let width = select(D, V, is_value);
  let all = NORM_ALL && !is_value;
  let first = select(head * width, 0u, all);
  let count = select(width, select(KV_HEADS, HEADS, part == 0u) * D, all);
  var square = 0.0;
  for (var i = invocation.index; i < count; i += INVOCATIONS) {
    let x = raw_at(part, token, first + i);
    square += x * x;
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  return inverseSqrt(sum_result(0u, invocation) / f32(count) + select(EPS, VALUE_EPS, is_value));
}

fn plain_at(token: u32, part: u32, head: u32, d: u32, scale: f32) -> f32 {
  let width = select(D, V, part == 2u);
  return clipped(raw_at(part, token, head * width + d) * scale * norm_at(part, head, d));
}

fn element_at(token: u32, part: u32, head: u32, d: u32, scale: f32) -> f32 {
  let x = plain_at(token, part, head, d, scale);
  if (part == 2u || d >= ROTARY) {
    return x;
  }
  let pair = rotary_pair(d);
  let other = plain_at(token, part, head, pair.other, scale);
  let angle = cos_sin(f32(positions[token]) * rotary_frequency(pair.frequency)) * ATTENTION_SCALING;
  return x * angle.x + other * angle.y * pair.sign;
}

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  let part = part_of(group.y);
  let head = group.y - first_of(part);
  let scale = scale_of(token, part, head, invocation);
  if (part == 0u) {
    for (var d = invocation.index; d < D; d += INVOCATIONS) {
      ready[(token * HEADS + head) * D + d] = element_at(token, part, head, d, scale);
    }
    return;
  }
  let row = cache_row(u32(sequence_ids[token]), u32(positions[token]), head);
  let width = select(D, V, part == 2u);
  for (var word = invocation.index; word < width / PACK; word += INVOCATIONS) {
    var values = vec4<f32>();
    for (var i = 0u; i < PACK; i++) {
      values[i] = element_at(token, part, head, word * PACK + i, scale);
    }
    if (part == 1u) {
      keys_store(row * (D / PACK) + word, values);
    } else {
      values_store(row * (V / PACK) + word, values);
    }
  }
}
