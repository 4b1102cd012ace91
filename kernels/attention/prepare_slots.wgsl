//@fragment attention/prepare_slots
//@needs SLOTS D HEADS KV_HEADS ROTARY ATTENTION_SCALING HEAD_UNITS GROUP HG LANES INVOCATIONS NORM
//@needs NORM_ALL GROUPS EPS FRESH_MAX SCALE VALUE_ROUNDS SLOT_ROUNDS CHUNKS ROUNDS_Q ROUNDS_K
//@needs rotary_frequency rotary_pair cos_sin Span Invocation v_raw chunk_dot
//@needs square_result fresh_values cached clipped queries fresh_keys cache_row keys_store Chunk
//@needs VALUE_NORM VALUE_EPS OWN_ROUNDS lane_total values_store q_quad k_quad square_share square_join qk_quad k_norm_quad q_norm_quad
//@gives prepare
// What a workgroup of decode_lanes.wgsl needs before it looks at the cache, made from the step's q,
// k and v: queries of the unit, and with `own` the keys and values of the step's own tokens as far
// as this one sees them, in workgroup memory; its own ones in the cache as well. Returns their
// number.
//
// A slot is a head of one of them: HG queries, then keys. LANES invocations bring a slot from
// memory, normed; then every invocation turns single elements by the angle of their position.
//
// SLOT_ROUNDS are the slots of a group of lanes, OWN_ROUNDS its values' heads, VALUE_ROUNDS the elements
// of values of an invocation, ROUNDS_Q and ROUNDS_K the quads of a sum over all heads.
var<workgroup> slot_rows: array<vec4<f32>, SLOTS * D / 4u>;

const QUADS_Q = HEADS * D / 4u;
const QUADS_K = KV_HEADS * D / 4u;

fn angle_at(position: u32, d: u32) -> vec2<f32> {
  let frequency = rotary_frequency(rotary_pair(min(d, max(ROTARY, 1u) - 1u)).frequency);
  return cos_sin(f32(position) * frequency) * ATTENTION_SCALING;
}

fn prepare(token: u32, unit: u32, span: Span, own: bool, invocation: Invocation) -> u32 {
  let kv_head = unit / HEAD_UNITS;
  let first_head = kv_head * GROUP + (unit % HEAD_UNITS) * HG;
  let count = select(0u, span.run, own);
  // The first of the step's own tokens that this one sees.
  let first_own = token + 1u - max(count, 1u);
  let lane = invocation.index % LANES;
  let angle = angle_at(span.position, invocation.index % D);
  //@repeat n VALUE_ROUNDS
  let value_$n = min(invocation.index + $n * INVOCATIONS, max(count, 1u) * D - 1u);
  let raw_value_$n = v_raw(first_own + value_$n / D, kv_head * D + value_$n % D);
  //@end
  if (NORM && NORM_ALL) {
    sum_squares(token, first_own, count, invocation);
  }
  //@repeat r SLOT_ROUNDS
  {
    let slot = invocation.index / LANES + $r * GROUPS;
    let is_key = slot >= HG;
    let source = select(token, first_own + min(slot - HG, max(count, 1u) - 1u), is_key);
    let head = select(first_head + min(slot, HG - 1u), kv_head, is_key);
    var square = 0.0;
    //@repeat c CHUNKS
    let chunk_$c = min(lane + $c * LANES, D / 8u - 1u);
    let x_$c = slot_chunk(source, head, chunk_$c, is_key);
    square += select(0.0, chunk_dot(x_$c, x_$c), lane + $c * LANES < D / 8u);
    //@end
    var scale = 1.0;
    if (NORM && !NORM_ALL) {
      scale = inverseSqrt(lane_total(square) / f32(D) + EPS);
    }
    if (NORM && NORM_ALL) {
      let heads = select(HEADS, KV_HEADS, is_key);
      let sum = square_result(select(0u, min(1u + slot - HG, FRESH_MAX), is_key), invocation);
      scale = inverseSqrt(sum / f32(heads * D) + EPS);
    }
    //@repeat c CHUNKS
    if (slot < HG + count && lane + $c * LANES < D / 8u) {
      let n = slot_norm(head, chunk_$c, is_key);
      let at = slot * (D / 4u) + 2u * chunk_$c;
      slot_rows[at] = clipped_quad(x_$c.lo * scale * n.lo);
      slot_rows[at + 1u] = clipped_quad(x_$c.hi * scale * n.hi);
    }
    //@end
  }
  //@end
  //@repeat n VALUE_ROUNDS
  if (invocation.index + $n * INVOCATIONS < count * D) {
    fresh_values[value_$n / 4u][value_$n % 4u] =
      select(cached(clipped(raw_value_$n)), raw_value_$n, VALUE_NORM);
  }
  //@end
  workgroupBarrier();
  if (VALUE_NORM) {
    norm_values(count, invocation);
  }
  for (var e = invocation.index; e < (HG + count) * D; e += INVOCATIONS) {
    let slot = e / D;
    let d = e % D;
    var x = slot_rows[e / 4u][e % 4u];
    if (d < ROTARY) {
      let position = span.position - select(0u, HG + count - 1u - slot, slot >= HG);
      var by = angle;
      if (INVOCATIONS % D != 0u || (FRESH_MAX > 1u && position != span.position)) {
        by = angle_at(position, d);
      }
      let pair = rotary_pair(d);
      let other = slot * D + pair.other;
      x = x * by.x + slot_rows[other / 4u][other % 4u] * by.y * pair.sign;
    }
    if (slot < HG) {
      queries[e / 4u][e % 4u] = x * SCALE;
    } else {
      let at = e - HG * D;
      fresh_keys[at / 4u][at % 4u] = cached(x);
    }
  }
  workgroupBarrier();
  if (own && unit % HEAD_UNITS == 0u) {
    let row = cache_row(span.sequence, span.position, kv_head);
    let at = (count - 1u) * (D / 4u);
    for (var c = invocation.index; c < D / 8u; c += INVOCATIONS) {
      keys_store(row, c, Chunk(fresh_keys[at + 2u * c], fresh_keys[at + 2u * c + 1u]));
      values_store(row, c, Chunk(fresh_values[at + 2u * c], fresh_values[at + 2u * c + 1u]));
    }
  }
  return count;
}

// Norms the values, each head by LANES invocations.
fn norm_values(count: u32, invocation: Invocation) {
  //@repeat r OWN_ROUNDS
  {
    let slot = invocation.index / LANES + $r * GROUPS;
    let end = select(0u, D / 4u, slot < count);
    var square = 0.0;
    for (var quad = invocation.index % LANES; quad < end; quad += LANES) {
      let x = fresh_values[slot * (D / 4u) + quad];
      square += dot(x, x);
    }
    let scale = inverseSqrt(lane_total(square) / f32(D) + VALUE_EPS);
    for (var quad = invocation.index % LANES; quad < end; quad += LANES) {
      let at = slot * (D / 4u) + quad;
      let x = clipped_quad(fresh_values[at] * scale);
      fresh_values[at] = vec4(cached(x.x), cached(x.y), cached(x.z), cached(x.w));
    }
  }
  //@end
}

// Σ x² over all heads: of the token's q in slot 0, then of the k of each of the step's own tokens.
fn sum_squares(token: u32, first_own: u32, count: u32, invocation: Invocation) {
  var sum = 0.0;
  //@repeat n ROUNDS_Q
  let q_$n = q_quad(token, min(invocation.index + $n * INVOCATIONS, QUADS_Q - 1u));
  //@end
  for (var i = 0u; i < count; i++) {
    sum = 0.0;
    //@repeat n ROUNDS_K
    {
      let quad = invocation.index + $n * INVOCATIONS;
      let x = k_quad(first_own + i, min(quad, QUADS_K - 1u));
      sum += select(0.0, dot(x, x), quad < QUADS_K);
    }
    //@end
    square_share(1u + i, sum, invocation);
  }
  sum = 0.0;
  //@repeat n ROUNDS_Q
  sum += select(0.0, dot(q_$n, q_$n), invocation.index + $n * INVOCATIONS < QUADS_Q);
  //@end
  square_share(0u, sum, invocation);
  square_join(invocation);
}

fn slot_chunk(token: u32, head: u32, chunk: u32, is_key: bool) -> Chunk {
  let quad = head * (D / 4u) + 2u * chunk;
  return Chunk(qk_quad(token, quad, is_key), qk_quad(token, quad + 1u, is_key));
}

fn slot_norm(head: u32, chunk: u32, is_key: bool) -> Chunk {
  let quad = select(0u, head * (D / 4u), NORM_ALL) + 2u * chunk;
  if (is_key) {
    return Chunk(k_norm_quad(quad), k_norm_quad(quad + 1u));
  }
  return Chunk(q_norm_quad(quad), q_norm_quad(quad + 1u));
}

fn clipped_quad(x: vec4<f32>) -> vec4<f32> {
  return vec4(clipped(x.x), clipped(x.y), clipped(x.z), clipped(x.w));
}
