// What a workgroup needs before it looks at the cache, made from the step's q, k and v.
fn is_fresh(i: u32, span: Span) -> bool {
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

// Queries of the unit, and with `fresh` keys and values of the step's own tokens as far as this
// one sees them, into shared memory; its own ones into the cache as well. Returns their number.
// Prelude: SLOTS (HG + FRESH_MAX sums of squares), NORM, NORM_ALL, EPS.
fn prepare(token: u32, unit: u32, span: Span, fresh: bool, lanes: Lanes) -> u32 {
  let kv_head = unit / HEAD_PARTS;
  let first_head = kv_head * GROUP + (unit % HEAD_PARTS) * HG;
  if (NORM) {
    for (var h = 0u; h < select(HG, 1u, NORM_ALL); h++) {
      let first = select((first_head + h) * D, 0u, NORM_ALL);
      var sum = 0.0;
      for (var d = lanes.index; d < select(D, HEADS * D, NORM_ALL); d += THREADS) {
        let x = q_raw(token, first + d);
        sum += x * x;
      }
      square_put(h, sum, lanes);
    }
    var slot = HG;
    for (var i = 0u; fresh && i < step.x; i++) {
      if (is_fresh(i, span)) {
        let first = select(kv_head * D, 0u, NORM_ALL);
        var sum = 0.0;
        for (var d = lanes.index; d < select(D, KV_HEADS * D, NORM_ALL); d += THREADS) {
          let x = k_raw(i, first + d);
          sum += x * x;
        }
        square_put(slot, sum, lanes);
        slot++;
      }
    }
    square_meet(lanes);
  }
  for (var i = lanes.index; i < HG * D; i += THREADS) {
    let h = i / D;
    let scale = scale_of(select(h, 0u, NORM_ALL), select(1u, HEADS, NORM_ALL), lanes);
    queries[i / 4u][i % 4u] = q_element(token, first_head + h, i % D, scale) * SCALE;
  }
  var count = 0u;
  for (var i = 0u; fresh && i < step.x; i++) {
    if (is_fresh(i, span)) {
      let scale = scale_of(HG + count, select(1u, KV_HEADS, NORM_ALL), lanes);
      for (var d = lanes.index; d < D; d += THREADS) {
        let at = count * D + d;
        fresh_keys[at / 4u][at % 4u] = cached(k_element(i, kv_head, d, scale));
        fresh_values[at / 4u][at % 4u] = cached(clipped(v_raw(i, kv_head * D + d)));
      }
      count++;
    }
  }
  workgroupBarrier();
  if (fresh && unit % HEAD_PARTS == 0u) {
    let row = cache_row(span.sequence, span.position, kv_head);
    var slot = 0u;
    for (var i = 0u; i < token; i++) {
      slot += select(0u, 1u, is_fresh(i, span));
    }
    let own = slot * (D / 4u);
    for (var c = lanes.index; c < D / 8u; c += THREADS) {
      keys_put(row, c, Chunk(fresh_keys[own + 2u * c], fresh_keys[own + 2u * c + 1u]));
      values_put(row, c, Chunk(fresh_values[own + 2u * c], fresh_values[own + 2u * c + 1u]));
    }
  }
  return count;
}
