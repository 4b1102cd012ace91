//@fragment attention/decode_workgroup
//@needs D INVOCATIONS HG FRESH_MAX ONLY_SHORT_RUNS HEAD_UNITS TILE FRESH LANES_K LOWEST TICKET
//@needs UNITS WORDS_K ROUNDS_V MORE_LANES_K Invocation in_long_run span_of Fetched fetch_tile
//@needs prepare keys_unpack chunk_dot Chunk values_unpack partial_at store_result store_partial
//@needs take_ticket combine
//@gives LANES_V GROUPS queries fresh_keys fresh_values
// Attention of single tokens over the paged cache, the context shared out to several workgroups.
//
// y [T, HEADS · D] f32
// Grid: split, unit (a key head, or a lane_k of the query heads that share it), token.
//
// A workgroup holds the HG query heads of its unit in workgroup memory and walks its share of the
// context in tiles. For the scores LANES_K invocations share a token's key; for the sums LANES_V
// invocations share its value, GROUPS tokens at a time, each group with a softmax of its own that
// is joined at the end: nothing but the scores passes between invocations on the way. Keys and
// values are read once for all HG heads. Those of the first tile are on their way while the queries
// are made.
//
// With FRESH the step's own tokens are brought into the cache here as well: nobody reads them from
// there in this step (see share_tiles.wgsl), so one dispatch is enough. With TICKET the
// last split to arrive combines all of them; otherwise `attention_combine` does.
//
// TILE is INVOCATIONS / LANES_K, MORE_LANES_K LANES_K - 1, WORDS_K the words of a key that one
// invocation reads, ROUNDS_V the tokens of a tile that one group takes.

const LANES_V = D / 8u;
const GROUPS = INVOCATIONS / LANES_V;
// The next tile is asked for while the scores of this one are awaited, unless results of many heads
// leave no registers for both.
const EARLY = HG <= 2u;

var<workgroup> queries: array<vec4<f32>, HG * D / 4u>;
var<workgroup> scores: array<f32, HG * INVOCATIONS>;
var<workgroup> sums: array<vec4<f32>, 2u * INVOCATIONS>;
var<workgroup> peaks: array<f32, HG * GROUPS>;
var<workgroup> totals: array<f32, HG * GROUPS>;
var<workgroup> fresh_keys: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> fresh_values: array<vec4<f32>, FRESH_MAX * D / 4u>;
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
  let kv_head = unit / HEAD_UNITS;
  let first = span.first + split * span.share;
  let end = min(first + span.share, span.end);
  let tiles = (max(end, first) - first + TILE - 1u) / TILE;
  var next: Fetched;
  if (tiles > 0u) {
    next = fetch_tile(span.sequence, first, end, kv_head, index);
  }
  let fresh_count = prepare(token, unit, span, FRESH && split + 1u == span.splits, invocation);

  let lane_k = index % LANES_K;
  let key = index / LANES_K;
  let value_group = index / LANES_V;
  let value_lane = index % LANES_V;
  //@repeat h HG
  var peak_$h = LOWEST;
  var total_$h = 0.0;
  var lo_$h = vec4<f32>();
  var hi_$h = vec4<f32>();
  //@end

  for (var tile = 0u; tile < tiles + select(0u, 1u, fresh_count > 0u); tile++) {
    let of_step = tile == tiles;
    let base = first + tile * TILE;
    let count = select(min(TILE, end - base), fresh_count, of_step);
    let now = next;
    if (!of_step) {
      //@repeat h HG
      var score_$h = 0.0;
      //@end
      //@repeat w WORDS_K
      if (lane_k + $w * LANES_K < LANES_V) {
        let k = keys_unpack(now.key_$w, 0u);
        let chunk = lane_k + $w * LANES_K;
        //@repeat h HG
        score_$h += chunk_dot(k, query_chunk($h, chunk));
        //@end
      }
      //@end
      //@repeat h HG
      scores[$h * INVOCATIONS + index] = score_$h;
      //@end
      if (EARLY && tile + 1u < tiles) {
        next = fetch_tile(span.sequence, base + TILE, end, kv_head, index);
      }
    } else if (key < count) {
      //@repeat h HG
      var score_$h = 0.0;
      //@end
      for (var chunk = lane_k; chunk < LANES_V; chunk += LANES_K) {
        let at = (key * LANES_V + chunk) * 2u;
        let k = Chunk(fresh_keys[at], fresh_keys[at + 1u]);
        //@repeat h HG
        score_$h += chunk_dot(k, query_chunk($h, chunk));
        //@end
      }
      //@repeat h HG
      scores[$h * INVOCATIONS + index] = score_$h;
      //@end
    }
    workgroupBarrier();
    if (value_group < GROUPS) {
      //@repeat h HG
      var top_$h = peak_$h;
      //@end
      for (var j = value_group; j < count; j += GROUPS) {
        //@repeat h HG
        top_$h = max(top_$h, score_at($h, j));
        //@end
      }
      //@repeat h HG
      {
        let factor = exp(peak_$h - top_$h);
        peak_$h = top_$h;
        total_$h *= factor;
        lo_$h *= factor;
        hi_$h *= factor;
      }
      //@end
      //@repeat u ROUNDS_V
      {
        let j = value_group + $u * GROUPS;
        if (j < count) {
          var v = values_unpack(now.value_$u, 0u);
          if (of_step) {
            let at = (j * LANES_V + value_lane) * 2u;
            v = Chunk(fresh_values[at], fresh_values[at + 1u]);
          }
          //@repeat h HG
          {
            let weight = exp(score_at($h, j) - peak_$h);
            total_$h += weight;
            lo_$h += weight * v.lo;
            hi_$h += weight * v.hi;
          }
          //@end
        }
      }
      //@end
    }
    if (!EARLY && tile + 1u < tiles) {
      next = fetch_tile(span.sequence, base + TILE, end, kv_head, index);
    }
    workgroupBarrier();
  }

  // The groups' sums of each head are brought to a common peak and added in order.
  if (value_lane == 0u && value_group < GROUPS) {
    //@repeat h HG
    peaks[$h * GROUPS + value_group] = peak_$h;
    totals[$h * GROUPS + value_group] = total_$h;
    //@end
  }
  let base = partial_at(token, unit, split);
  //@repeat h HG
  {
    if ($h > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_$h;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_$h;
    }
    workgroupBarrier();
    for (var quad = index; quad < 2u * LANES_V; quad += INVOCATIONS) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[$h * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[$h * GROUPS + g] - peak);
        total += factor * totals[$h * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + quad];
      }
      let e = $h * D + (quad % LANES_V) * 8u + (quad / LANES_V) * 4u;
      //@repeat i 4
      if (span.splits == 1u) {
        store_result(token, unit, e + $i, sum[$i], peak, total);
      } else {
        store_partial(base + e + $i, sum[$i]);
      }
      //@end
      if (span.splits > 1u && quad == 0u) {
        store_partial(base + HG * D + $h, peak);
        store_partial(base + HG * D + HG + $h, total);
      }
    }
  }
  //@end
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

fn query_chunk(h: u32, chunk: u32) -> Chunk {
  let at = (h * LANES_V + chunk) * 2u;
  return Chunk(queries[at], queries[at + 1u]);
}

fn score_at(h: u32, j: u32) -> f32 {
  let at = h * INVOCATIONS + j * LANES_K;
  var sum = scores[at];
  //@repeat p MORE_LANES_K
  sum += scores[at + 1u + $p];
  //@end
  return sum;
}
