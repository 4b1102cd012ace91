//@fragment attention/prepare_heads
//@needs Span FRESH_MAX positions sequence_ids first_seen Lanes NORM square_get D EPS HEADS NORM_ALL
//@needs KV_HEADS HEAD_PARTS GROUP HG q_quad THREADS q_place k_Place k_place step v_raw k_quad
//@needs square_put fresh_values cached clipped square_meet queries q_element_at SCALE fresh_keys
//@needs k_element_at cache_row keys_put Chunk values_put SQUARES_Q ROUNDS_Q ELEMENTS ELEMENTS_K
//@needs ROUNDS_K
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

fn scale_of(slot: u32, heads: u32, lanes: Lanes) -> f32 {
  if (!NORM) {
    return 1.0;
  }
  return inverseSqrt(square_get(slot, lanes) / f32(heads * D) + EPS);
}

// Quads that a norm sums up: of one head, or of all.
const QUADS_Q = select(D, HEADS * D, NORM_ALL) / 4u;
const QUADS_K = select(D, KV_HEADS * D, NORM_ALL) / 4u;

// Queries of the unit, and with `fresh` keys and values of the step's own tokens as far as this
// one sees them, into shared memory; its own ones into the cache as well. Returns their number.
//
// Whatever comes from far is asked for before the sums of squares are awaited; the numbers of q and
// k are loaded twice, the second time from the nearest cache.
//
// ELEMENTS and ELEMENTS_K are those of the unit's queries and of a key for each thread, SQUARES_Q the
// sums of squares of queries, ROUNDS_Q and ROUNDS_K the quads of a sum for each thread. `square` has
// SLOTS = HG + FRESH_MAX sums.
fn prepare(token: u32, unit: u32, span: Span, fresh: bool, lanes: Lanes) -> u32 {
  let kv_head = unit / HEAD_PARTS;
  let first_head = kv_head * GROUP + (unit % HEAD_PARTS) * HG;
  //@repeat h SQUARES_Q
  //@repeat n ROUNDS_Q
  let square_$h_$n = q_quad(
    token,
    select((first_head + $h) * (D / 4u), 0u, NORM_ALL) +
      min(lanes.index + $n * THREADS, QUADS_Q - 1u),
  );
  //@end
  //@end
  //@repeat e ELEMENTS
  let query_$e = min(lanes.index + $e * THREADS, HG * D - 1u);
  let q_place_$e = q_place(first_head + query_$e / D, query_$e % D);
  //@end
  //@repeat e ELEMENTS_K
  let d_$e = min(lanes.index + $e * THREADS, D - 1u);
  var k_place_$e: k_Place;
  if (fresh) {
    k_place_$e = k_place(kv_head, d_$e);
  }
  //@end
  var count = 0u;
  for (var i = 0u; fresh && i < step.x; i++) {
    if (is_fresh(i, span)) {
      //@repeat e ELEMENTS_K
      let value_$e = v_raw(i, kv_head * D + d_$e);
      //@end
      if (NORM) {
        var sum = 0.0;
        //@repeat n ROUNDS_K
        {
          let quad = lanes.index + $n * THREADS;
          let x = k_quad(i, select(kv_head * (D / 4u), 0u, NORM_ALL) + min(quad, QUADS_K - 1u));
          sum += select(0.0, dot(x, x), quad < QUADS_K);
        }
        //@end
        square_put(HG + count, sum, lanes);
      }
      //@repeat e ELEMENTS_K
      if (lanes.index + $e * THREADS < D) {
        let at = count * D + d_$e;
        fresh_values[at / 4u][at % 4u] = cached(clipped(value_$e));
      }
      //@end
      count++;
    }
  }
  //@repeat h SQUARES_Q
  {
    var sum = 0.0;
    //@repeat n ROUNDS_Q
    sum += select(0.0, dot(square_$h_$n, square_$h_$n), lanes.index + $n * THREADS < QUADS_Q);
    //@end
    square_put($h, sum, lanes);
  }
  //@end
  if (NORM) {
    square_meet(lanes);
  }
  //@repeat e ELEMENTS
  if (lanes.index + $e * THREADS < HG * D) {
    let h = query_$e / D;
    let scale = scale_of(select(h, 0u, NORM_ALL), select(1u, HEADS, NORM_ALL), lanes);
    queries[query_$e / 4u][query_$e % 4u] =
      q_element_at(token, first_head + h, query_$e % D, q_place_$e, scale) * SCALE;
  }
  //@end
  var slot = 0u;
  var own = 0u;
  for (var i = 0u; i < step.x && slot < count; i++) {
    if (is_fresh(i, span)) {
      let scale = scale_of(HG + slot, select(1u, KV_HEADS, NORM_ALL), lanes);
      //@repeat e ELEMENTS_K
      if (lanes.index + $e * THREADS < D) {
        let at = slot * D + d_$e;
        fresh_keys[at / 4u][at % 4u] =
          cached(k_element_at(i, kv_head, d_$e, k_place_$e, scale));
      }
      //@end
      own = select(own, slot, i == token);
      slot++;
    }
  }
  workgroupBarrier();
  if (fresh && unit % HEAD_PARTS == 0u) {
    let row = cache_row(span.sequence, span.position, kv_head);
    let at = own * (D / 4u);
    for (var c = lanes.index; c < D / 8u; c += THREADS) {
      keys_put(row, c, Chunk(fresh_keys[at + 2u * c], fresh_keys[at + 2u * c + 1u]));
      values_put(row, c, Chunk(fresh_values[at + 2u * c], fresh_values[at + 2u * c + 1u]));
    }
  }
  return count;
}
