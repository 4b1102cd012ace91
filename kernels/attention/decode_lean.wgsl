//@fragment attention/decode_lean
//@needs HG D INVOCATIONS LANES HEAD_UNITS GROUP TURN LOWEST GROUPS JOINED PARTIES HEADS UNROLL SCALE
//@needs NORM NORM_ALL EPS ROTARY ATTENTION_SCALING TICKET UNITS QUADS_Q QUADS_K raw_chunk norm_of
//@needs Invocation span_of Fetched fetch_turn keys_unpack values_unpack chunk_dot lane_total Chunk
//@needs joined_max joined_sum partial_at head_of gain_of y store_partial take_ticket combine
//@needs sum_squares clipped_quad rotary_frequency cos_sin turned square_result cache_row
//@needs keys_pack keys_put values_pack values_put
//@needs keys_Word values_Word
//@gives cosines sines
// Attention of single tokens, each the only one of its sequence, over the paged cache. As
// decode_lanes.wgsl, with less text and fewer barriers: a kernel that has not run for a while comes
// from memory, as its data do.
//
// y [T, HEADS · D] f32
// Grid: split, unit (a key head, or a part of the query heads that share it), token.
//
// LANES neighbours have a chunk each of a head. The first HG + 2 groups of lanes make the unit's
// queries and the token's own key and value; the last split stores these, and begins its softmax
// with them, so that they need no turn of their own.
var<workgroup> queries: array<vec4<f32>, HG * D / 4u>;
var<workgroup> own_keys: array<keys_Word, D / 8u>;
var<workgroup> own_values: array<values_Word, D / 8u>;
var<workgroup> cosines: array<vec4<f32>, max(1u, ROTARY / 8u)>;
var<workgroup> sines: array<vec4<f32>, max(1u, ROTARY / 8u)>;
var<workgroup> sums: array<vec4<f32>, PARTIES * HG * D / 4u>;
var<workgroup> peaks: array<f32, HG * PARTIES>;
var<workgroup> totals: array<f32, HG * PARTIES>;
var<workgroup> arrived: u32;

// Less than any score, and so much more than LOWEST that a masked score weighs nothing beside it.
const NO_PEAK = -1e30;

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.z;
  let unit = group.y;
  let split = group.x;
  let index = invocation.index;
  let lane = index % LANES;
  let row = index / LANES;
  let kv_head = unit / HEAD_UNITS;
  let is_value = row == HG + 1u;
  let is_key = row == HG;
  let chunk = min(lane, D / 8u - 1u);
  let head = select(kv_head * GROUP + (unit % HEAD_UNITS) * HG + min(row, HG - 1u), kv_head, row >= HG);
  let raw = raw_chunk(token, head * (D / 4u) + 2u * chunk, is_key, is_value);
  let norm = norm_of(select(0u, head * (D / 4u), NORM_ALL) + 2u * chunk, is_key, is_value);
  let frequency = rotary_frequency(min(index, max(ROTARY / 2u, 1u) - 1u));
  let span = span_of(token);
  if (split >= span.splits) {
    return;
  }
  let own = split + 1u == span.splits;
  let first = span.first + split * span.share;
  let end = max(first, min(first + span.share, span.end));
  let turns = (end - first + TURN - 1u) / TURN;
  var next: Fetched;
  if (turns > 0u) {
    next = fetch_turn(span.sequence, first + row, end, kv_head, lane);
  }
  if (index < ROTARY / 2u) {
    let angle = cos_sin(f32(span.position) * frequency) * ATTENTION_SCALING;
    cosines[index / 4u][index % 4u] = angle.x;
    sines[index / 4u][index % 4u] = angle.y;
  }
  if (NORM && NORM_ALL) {
    sum_squares(token, invocation);
  } else {
    workgroupBarrier();
  }
  var scale = 1.0;
  if (NORM_ALL) {
    let sum = square_result(select(0u, 1u, is_key), invocation);
    scale = inverseSqrt(sum / f32(select(QUADS_Q, QUADS_K, is_key) * 4u) + EPS);
  } else if (NORM) {
    let square = select(0.0, chunk_dot(raw, raw), lane < D / 8u);
    scale = inverseSqrt(lane_total(square) / f32(D) + EPS);
  }
  scale = select(scale, 1.0, is_value);
  let x = Chunk(clipped_quad(raw.lo * scale * norm.lo), clipped_quad(raw.hi * scale * norm.hi));
  let by_angle = turned(x, lane, invocation);
  let stores = own && unit % HEAD_UNITS == 0u;
  if (row < HG && lane < D / 8u) {
    queries[row * (D / 4u) + 2u * lane] = by_angle.lo * SCALE;
    queries[row * (D / 4u) + 2u * lane + 1u] = by_angle.hi * SCALE;
  } else if (own && is_key && lane < D / 8u) {
    let word = keys_pack(by_angle);
    own_keys[lane] = word;
    if (stores) {
      keys_put(cache_row(span.sequence, span.position, kv_head), lane, word);
    }
  } else if (own && is_value && lane < D / 8u) {
    let word = values_pack(x);
    own_values[lane] = word;
    if (stores) {
      values_put(cache_row(span.sequence, span.position, kv_head), lane, word);
    }
  }
  workgroupBarrier();

  // The first group of the last split begins with the token's own key and value.
  let mine = own && row == 0u;
  let own_key = keys_unpack(own_keys[chunk], 0u);
  let own_value = values_unpack(own_values[chunk], 0u);
  //@repeat h HG
  let query_$h = query_chunk($h, lane);
  var peak_$h = select(NO_PEAK, lane_total(chunk_dot(own_key, query_$h)), mine);
  var total_$h = select(0.0, 1.0, mine);
  var lo_$h = select(vec4<f32>(), own_value.lo, mine);
  var hi_$h = select(vec4<f32>(), own_value.hi, mine);
  //@end

  for (var turn = 0u; turn < turns; turn++) {
    let at = first + turn * TURN + row;
    let now = next;
    if (turn + 1u < turns) {
      next = fetch_turn(span.sequence, at + TURN, end, kv_head, lane);
    }
    //@repeat u UNROLL
    //@repeat h HG
    var score_$u_$h = LOWEST;
    //@end
    {
      let key = keys_unpack(now.key_$u_0, 0u);
      //@repeat h HG
      score_$u_$h = select(LOWEST, lane_total(chunk_dot(key, query_$h)), at + $u * GROUPS < end);
      //@end
    }
    //@end
    //@repeat h HG
    {
      var top = peak_$h;
      //@repeat u UNROLL
      top = max(top, score_$u_$h);
      //@end
      let factor = exp(peak_$h - top);
      peak_$h = top;
      total_$h *= factor;
      lo_$h *= factor;
      hi_$h *= factor;
      //@repeat u UNROLL
      score_$u_$h = exp(score_$u_$h - top);
      total_$h += score_$u_$h;
      //@end
    }
    //@end
    //@repeat u UNROLL
    {
      let value = values_unpack(now.value_$u_0, 0u);
      //@repeat h HG
      lo_$h += score_$u_$h * value.lo;
      hi_$h += score_$u_$h * value.hi;
      //@end
    }
    //@end
  }

  //@repeat h HG
  {
    let peak = joined_max(peak_$h);
    let factor = exp(peak_$h - peak);
    let total = joined_sum(vec4(total_$h * factor)).x;
    let lo = joined_sum(lo_$h * factor);
    let hi = joined_sum(hi_$h * factor);
    if (row % JOINED == 0u) {
      let party = row / JOINED;
      if (lane < D / 8u) {
        let at = (party * HG + $h) * (D / 4u) + 2u * lane;
        sums[at] = lo;
        sums[at + 1u] = hi;
      }
      if (lane == 0u) {
        peaks[$h * PARTIES + party] = peak;
        totals[$h * PARTIES + party] = total;
      }
    }
  }
  //@end
  workgroupBarrier();
  let base = partial_at(token, unit, split);
  for (var e = index; e < HG * D; e += INVOCATIONS) {
    let h = e / D;
    var peak = NO_PEAK;
    //@repeat p PARTIES
    let peak_$p = peaks[h * PARTIES + $p];
    peak = max(peak, peak_$p);
    //@end
    var total = 0.0;
    var sum = 0.0;
    //@repeat p PARTIES
    {
      let factor = exp(peak_$p - peak);
      total += factor * totals[h * PARTIES + $p];
      sum += factor * sums[$p * (HG * D / 4u) + e / 4u][e % 4u];
    }
    //@end
    if (span.splits == 1u) {
      let result_head = head_of(unit, h);
      y[(token * HEADS + result_head) * D + e % D] = sum * gain_of(result_head, peak, total);
    } else {
      store_partial(base + e, sum / total);
      if (e % D == 0u) {
        store_partial(base + HG * D + h, peak + log(total));
      }
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
fn query_chunk(h: u32, lane: u32) -> Chunk {
  if (lane >= D / 8u) {
    return Chunk(vec4<f32>(), vec4<f32>());
  }
  let at = h * (D / 4u) + 2u * lane;
  return Chunk(queries[at], queries[at + 1u]);
}
