//@fragment attention/decode_lanes
//@needs HG D FRESH_MAX PARTIES INVOCATIONS ONLY_SHORT_RUNS LANES HEAD_UNITS TURN FRESH LOWEST AHEAD
//@needs GROUPS JOINED HEADS TICKET UNITS CHUNKS UNROLL Invocation in_long_run span_of Fetched
//@needs fetch_turn prepare keys_unpack chunk_dot lane_total values_unpack Chunk joined_max
//@needs joined_sum partial_at head_of gain_of y store_partial take_ticket combine
//@gives queries fresh_keys fresh_values
// Attention of single tokens over the paged cache, LANES invocations of a subgroup to a key.
//
// y [T, HEADS · D] f32
// Grid: split, unit (a key head, or a part of the query heads that share it), token.
//
// LANES neighbours hold the queries of the unit's HG heads in registers, CHUNKS chunks each, and
// take UNROLL keys and values a turn. Scores are summed by shuffles, so that nothing passes through
// workgroup memory and nobody waits for a barrier until the context is read. Every group of lanes
// has a softmax of its own; JOINED of them meet by shuffles at the end, and the rest once in
// workgroup memory. Keys and values of the first turn are on their way while the queries are made.
//
// With FRESH the step's own tokens are brought into the cache here as well: nobody reads them from
// there in this step (see share_turns.wgsl), so one dispatch is enough. With TICKET the last split
// to arrive combines all of them; otherwise `attention_combine` does.
//
// STEPS is log2 LANES, GROUPS INVOCATIONS / LANES, JOINS log2 JOINED, PARTIES GROUPS / JOINED, TURN
// GROUPS · UNROLL. AHEAD asks for the next turn before this one is computed.

var<workgroup> queries: array<vec4<f32>, HG * D / 4u>;
var<workgroup> fresh_keys: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> fresh_values: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> sums: array<vec4<f32>, PARTIES * HG * D / 4u>;
var<workgroup> peaks: array<f32, HG * PARTIES>;
var<workgroup> totals: array<f32, HG * PARTIES>;
var<workgroup> arrived: u32;

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.z;
  let unit = group.y;
  let split = group.x;
  if (ONLY_SHORT_RUNS && in_long_run(token)) {
    return;
  }
  let span = span_of(token);
  if (split >= span.splits) {
    return;
  }
  let index = invocation.index;
  let lane = index % LANES;
  let row = index / LANES;
  let kv_head = unit / HEAD_UNITS;
  let first = span.first + split * span.share;
  let end = max(first, min(first + span.share, span.end));
  let turns = (end - first + TURN - 1u) / TURN;
  var next: Fetched;
  if (turns > 0u) {
    next = fetch_turn(span.sequence, first + row, end, kv_head, lane);
  }
  let fresh_count = prepare(token, unit, span, FRESH && split + 1u == span.splits, invocation);

  //@repeat h HG
  var peak_$h = LOWEST;
  var total_$h = 0.0;
  //@repeat c CHUNKS
  let query_$h_$c = query_chunk($h, lane + $c * LANES);
  var lo_$h_$c = vec4<f32>();
  var hi_$h_$c = vec4<f32>();
  //@end
  //@end

  for (var turn = 0u; turn < turns; turn++) {
    let at = first + turn * TURN + row;
    let now = next;
    if (AHEAD && turn + 1u < turns) {
      next = fetch_turn(span.sequence, at + TURN, end, kv_head, lane);
    }
    //@repeat u UNROLL
    //@repeat h HG
    var score_$h_$u = 0.0;
    //@end
    //@repeat c CHUNKS
    {
      let key = keys_unpack(now.key_$u_$c, 0u);
      //@repeat h HG
      score_$h_$u += chunk_dot(key, query_$h_$c);
      //@end
    }
    //@end
    //@repeat h HG
    score_$h_$u = select(LOWEST, lane_total(score_$h_$u), at + $u * GROUPS < end);
    //@end
    //@end
    //@repeat h HG
    {
      var top = peak_$h;
      //@repeat u UNROLL
      top = max(top, score_$h_$u);
      //@end
      let factor = exp(peak_$h - top);
      peak_$h = top;
      total_$h *= factor;
      //@repeat c CHUNKS
      lo_$h_$c *= factor;
      hi_$h_$c *= factor;
      //@end
      //@repeat u UNROLL
      score_$h_$u = select(0.0, exp(score_$h_$u - top), at + $u * GROUPS < end);
      total_$h += score_$h_$u;
      //@end
    }
    //@end
    //@repeat u UNROLL
    //@repeat c CHUNKS
    {
      let value = values_unpack(now.value_$u_$c, 0u);
      //@repeat h HG
      lo_$h_$c += score_$h_$u * value.lo;
      hi_$h_$c += score_$h_$u * value.hi;
      //@end
    }
    //@end
    //@end
    if (!AHEAD && turn + 1u < turns) {
      next = fetch_turn(span.sequence, at + TURN, end, kv_head, lane);
    }
  }

  if (fresh_count > 0u) {
    // One of the step's own tokens for each of the first groups of lanes.
    let mine = row < fresh_count;
    let key_row = min(row, fresh_count - 1u) * (D / 8u);
    //@repeat h HG
    var score_$h = 0.0;
    //@end
    //@repeat c CHUNKS
    {
      let at = 2u * (key_row + min(lane + $c * LANES, D / 8u - 1u));
      let key = Chunk(fresh_keys[at], fresh_keys[at + 1u]);
      //@repeat h HG
      score_$h += chunk_dot(key, query_$h_$c);
      //@end
    }
    //@end
    //@repeat h HG
    {
      score_$h = lane_total(score_$h);
      let top = max(peak_$h, select(LOWEST, score_$h, mine));
      let factor = exp(peak_$h - top);
      peak_$h = top;
      score_$h = select(0.0, exp(score_$h - top), mine);
      total_$h = total_$h * factor + score_$h;
      //@repeat c CHUNKS
      {
        let at = 2u * (key_row + min(lane + $c * LANES, D / 8u - 1u));
        lo_$h_$c = lo_$h_$c * factor + score_$h * fresh_values[at];
        hi_$h_$c = hi_$h_$c * factor + score_$h * fresh_values[at + 1u];
      }
      //@end
    }
    //@end
  }

  //@repeat h HG
  {
    let peak = joined_max(peak_$h);
    let factor = exp(peak_$h - peak);
    let total = joined_sum(vec4(total_$h * factor)).x;
    //@repeat c CHUNKS
    let sum_lo_$c = joined_sum(lo_$h_$c * factor);
    let sum_hi_$c = joined_sum(hi_$h_$c * factor);
    //@end
    if (row % JOINED == 0u) {
      let party = row / JOINED;
      //@repeat c CHUNKS
      if (lane + $c * LANES < D / 8u) {
        let at = (party * HG + $h) * (D / 4u) + 2u * (lane + $c * LANES);
        sums[at] = sum_lo_$c;
        sums[at + 1u] = sum_hi_$c;
      }
      //@end
      if (lane == 0u) {
        peaks[$h * PARTIES + party] = peak;
        totals[$h * PARTIES + party] = total;
      }
    }
  }
  //@end
  workgroupBarrier();
  let base = partial_at(token, unit, split);
  for (var i = index; i < HG * D / 4u; i += INVOCATIONS) {
    let h = i / (D / 4u);
    var peak = LOWEST;
    //@repeat p PARTIES
    let peak_$p = peaks[h * PARTIES + $p];
    peak = max(peak, peak_$p);
    //@end
    var total = 0.0;
    var sum = vec4<f32>();
    //@repeat p PARTIES
    {
      let factor = exp(peak_$p - peak);
      total += factor * totals[h * PARTIES + $p];
      sum += factor * sums[$p * (HG * D / 4u) + i];
    }
    //@end
    if (span.splits == 1u) {
      let head = head_of(unit, h);
      sum *= gain_of(head, peak, total);
      let at = (token * HEADS + head) * D + (i % (D / 4u)) * 4u;
      //@repeat e 4
      y[at + $e] = sum[$e];
      //@end
    } else {
      //@repeat e 4
      store_partial(base + i * 4u + $e, sum[$e]);
      //@end
    }
    if (span.splits > 1u && i % (D / 4u) == 0u) {
      store_partial(base + HG * D + h, peak);
      store_partial(base + HG * D + HG + h, total);
    }
  }
  if (!TICKET || span.splits == 1u) {
    return;
  }
  storageBarrier();
  if (index == 0u) {
    arrived = take_ticket(token * UNITS + unit, span.splits);
  }
  if (workgroupUniformLoad(&arrived) + 1u == span.splits) {
    storageBarrier();
    combine(token, unit, span.splits, index);
  }
}

// A chunk of a query, zero behind the end of a head.
fn query_chunk(h: u32, chunk: u32) -> Chunk {
  if (chunk >= D / 8u) {
    return Chunk(vec4<f32>(), vec4<f32>());
  }
  let at = (h * (D / 8u) + chunk) * 2u;
  return Chunk(queries[at], queries[at + 1u]);
}
