//@fragment attention/prepare_heads
//@needs FRESH_MAX NORM D EPS HEADS NORM_ALL KV_HEADS HEAD_UNITS GROUP HG INVOCATIONS SCALE
//@needs SQUARES_Q ROUNDS_Q ELEMENTS ELEMENTS_K ROUNDS_K Span positions sequence_ids first_seen
//@needs Invocation square_result q_quad q_rotation k_Rotation k_rotation step_tokens v_raw k_quad
//@needs square_share fresh_values cached clipped square_join queries q_element_at fresh_keys
//@needs k_element_at cache_row keys_store Chunk values_store VALUE_NORM VALUE_EPS
//@gives prepare
// What a workgroup needs before it looks at the cache, made from the step's q, k and v.
fn is_fresh(i: u32, span: Span) -> bool {
  if (FRESH_MAX == 1u) {
    return true;
  }
  let position = u32(positions[i]);
  return u32(sequence_ids[i]) == span.sequence && position <= span.position &&
    position >= first_seen(span.position);
}

fn scale_of(slot: u32, heads: u32, invocation: Invocation) -> f32 {
  if (!NORM) {
    return 1.0;
  }
  return inverseSqrt(square_result(slot, invocation) / f32(heads * D) + EPS);
}

// Quads that a norm sums up: of one head, or of all.
const QUADS_Q = select(D, HEADS * D, NORM_ALL) / 4u;
const QUADS_K = select(D, KV_HEADS * D, NORM_ALL) / 4u;

// Queries of the unit, and with `fresh` keys and values of the step's own tokens as far as this
// one sees them, into workgroup memory; its own ones into the cache as well. Returns their number.
//
// Whatever comes from far is asked for before the sums of squares are awaited; the numbers of q and
// k are loaded twice, the second time from the nearest cache.
//
// ELEMENTS and ELEMENTS_K are those of the unit's queries and of a key for each invocation,
// SQUARES_Q the sums of squares of queries, ROUNDS_Q and ROUNDS_K the quads of a sum for each
// invocation. `square` has SLOTS sums: of HG
// queries, of FRESH_MAX keys, and of as many values where those are normed.
fn prepare(token: u32, unit: u32, span: Span, fresh: bool, invocation: Invocation) -> u32 {
  let kv_head = unit / HEAD_UNITS;
  let first_head = kv_head * GROUP + (unit % HEAD_UNITS) * HG;
  //@repeat h SQUARES_Q
  //@repeat n ROUNDS_Q
  let square_$h_$n = q_quad(
    token,
    select((first_head + $h) * (D / 4u), 0u, NORM_ALL) +
      min(invocation.index + $n * INVOCATIONS, QUADS_Q - 1u),
  );
  //@end
  //@end
  //@repeat e ELEMENTS
  let query_$e = min(invocation.index + $e * INVOCATIONS, HG * D - 1u);
  let q_rotation_$e = q_rotation(first_head + query_$e / D, query_$e % D);
  //@end
  //@repeat e ELEMENTS_K
  let d_$e = min(invocation.index + $e * INVOCATIONS, D - 1u);
  var k_rotation_$e: k_Rotation;
  if (fresh) {
    k_rotation_$e = k_rotation(kv_head, d_$e);
  }
  //@end
  // Where a sequence has one token at most, that is this one.
  let step_first = select(0u, token, FRESH_MAX == 1u);
  let step_end = select(step_tokens(token), token + 1u, FRESH_MAX == 1u);
  var count = 0u;
  for (var i = step_first; fresh && i < step_end; i++) {
    if (is_fresh(i, span)) {
      //@repeat e ELEMENTS_K
      let value_$e = v_raw(i, kv_head * D + d_$e);
      //@end
      if (NORM) {
        var sum = 0.0;
        //@repeat n ROUNDS_K
        {
          let quad = invocation.index + $n * INVOCATIONS;
          let x = k_quad(i, select(kv_head * (D / 4u), 0u, NORM_ALL) + min(quad, QUADS_K - 1u));
          sum += select(0.0, dot(x, x), quad < QUADS_K);
        }
        //@end
        square_share(HG + count, sum, invocation);
      }
      if (VALUE_NORM) {
        var sum = 0.0;
        //@repeat e ELEMENTS_K
        sum += select(0.0, value_$e * value_$e, invocation.index + $e * INVOCATIONS < D);
        //@end
        square_share(HG + FRESH_MAX + count, sum, invocation);
      }
      //@repeat e ELEMENTS_K
      if (invocation.index + $e * INVOCATIONS < D) {
        let at = count * D + d_$e;
        fresh_values[at / 4u][at % 4u] = select(cached(clipped(value_$e)), value_$e, VALUE_NORM);
      }
      //@end
      count++;
    }
  }
  //@repeat h SQUARES_Q
  {
    var sum = 0.0;
    //@repeat n ROUNDS_Q
    sum += select(0.0, dot(square_$h_$n, square_$h_$n), invocation.index + $n * INVOCATIONS < QUADS_Q);
    //@end
    square_share($h, sum, invocation);
  }
  //@end
  if (NORM || VALUE_NORM) {
    square_join(invocation);
  }
  //@repeat e ELEMENTS
  if (invocation.index + $e * INVOCATIONS < HG * D) {
    let h = query_$e / D;
    let scale = scale_of(select(h, 0u, NORM_ALL), select(1u, HEADS, NORM_ALL), invocation);
    queries[query_$e / 4u][query_$e % 4u] =
      q_element_at(token, first_head + h, query_$e % D, q_rotation_$e, scale) * SCALE;
  }
  //@end
  var slot = 0u;
  var own = 0u;
  for (var i = step_first; i < step_end && slot < count; i++) {
    if (is_fresh(i, span)) {
      let scale = scale_of(HG + slot, select(1u, KV_HEADS, NORM_ALL), invocation);
      //@repeat e ELEMENTS_K
      if (invocation.index + $e * INVOCATIONS < D) {
        let at = slot * D + d_$e;
        fresh_keys[at / 4u][at % 4u] =
          cached(k_element_at(i, kv_head, d_$e, k_rotation_$e, scale));
      }
      //@end
      if (VALUE_NORM) {
        let square = square_result(HG + FRESH_MAX + slot, invocation);
        let value_scale = inverseSqrt(square / f32(D) + VALUE_EPS);
        //@repeat e ELEMENTS_K
        if (invocation.index + $e * INVOCATIONS < D) {
          let at = slot * D + d_$e;
          fresh_values[at / 4u][at % 4u] =
            cached(clipped(fresh_values[at / 4u][at % 4u] * value_scale));
        }
        //@end
      }
      own = select(own, slot, i == token);
      slot++;
    }
  }
  workgroupBarrier();
  if (fresh && unit % HEAD_UNITS == 0u) {
    let row = cache_row(span.sequence, span.position, kv_head);
    let at = own * (D / 4u);
    for (var c = invocation.index; c < D / 8u; c += INVOCATIONS) {
      keys_store(row, c, Chunk(fresh_keys[at + 2u * c], fresh_keys[at + 2u * c + 1u]));
      values_store(row, c, Chunk(fresh_values[at + 2u * c], fresh_values[at + 2u * c + 1u]));
    }
  }
  return count;
}
