//@fragment attention/mla/attend
//@needs UNIT D INVOCATIONS SPLITS HEADS TEAMS LOWEST SCALE WORDS L Chunk ready Invocation
//@needs sequence_ids positions cache_row keys_unpack keys_fetch chunk_dot peak_share peak_join
//@needs peak_result total_share chunk_scale total_join total_result partials tiles_of_share
// Attention over latents: UNIT heads of one token, over one share of its context.
//
// ready [T, HEADS, D] f32, keys: the cache, rows of D = L + R numbers of which the first L are the values
// partials [T, HEADS, SPLITS, L + 2] f32: the sums, their largest score, the sum of the weights
// Grid: token, unit of heads, split.

var<workgroup> queries: array<Chunk, UNIT * D / 8u>;
var<workgroup> weights: array<f32, UNIT * INVOCATIONS>;
var<workgroup> rows: array<u32, INVOCATIONS>;
var<workgroup> shares: array<Chunk, INVOCATIONS>;

fn query_word(i: u32) -> Chunk {
  return Chunk(
    vec4(ready[i], ready[i + 1u], ready[i + 2u], ready[i + 3u]),
    vec4(ready[i + 4u], ready[i + 5u], ready[i + 6u], ready[i + 7u]),
  );
}

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  let first_head = group.y * UNIT;
  let index = invocation.index;
  let sequence = u32(sequence_ids[token]);
  let context = u32(positions[token]) + 1u;
  let tiles = tiles_of_share(context);
  let begin = min(context, group.z * tiles * INVOCATIONS);
  let end = min(context, begin + tiles * INVOCATIONS);
  if (begin == end) {
    return;
  }
  for (var i = index; i < UNIT * D / 8u; i += INVOCATIONS) {
    queries[i] = query_word((token * HEADS + first_head) * D + i * 8u);
  }
  workgroupBarrier();
  let word = index % (INVOCATIONS / TEAMS);
  let team = index / (INVOCATIONS / TEAMS);
  //@repeat h UNIT
  var peak_$h = LOWEST;
  var total_$h = 0.0;
  var sum_$h = Chunk();
  //@end
  for (var base = begin; base < end; base += INVOCATIONS) {
    let seen = base + index < end;
    let row = cache_row(sequence, min(base + index, end - 1u), 0u);
    rows[index] = row;
    //@repeat h UNIT
    var score_$h = 0.0;
    //@end
    for (var c = 0u; c < D / 8u; c++) {
      let key = keys_unpack(keys_fetch(row, c), 0u);
      //@repeat h UNIT
      score_$h += chunk_dot(key, queries[u32($h) * (D / 8u) + c]);
      //@end
    }
    //@repeat h UNIT
    score_$h = select(LOWEST, score_$h * SCALE, seen);
    peak_share(u32($h), score_$h, invocation);
    //@end
    peak_join(invocation);
    //@repeat h UNIT
    let top_$h = max(peak_$h, peak_result(u32($h), invocation));
    let factor_$h = exp(peak_$h - top_$h);
    peak_$h = top_$h;
    let weight_$h = select(0.0, exp(score_$h - top_$h), seen);
    weights[u32($h) * INVOCATIONS + index] = weight_$h;
    total_share(u32($h), weight_$h, invocation);
    sum_$h = chunk_scale(sum_$h, factor_$h);
    //@end
    total_join(invocation);
    //@repeat h UNIT
    total_$h = total_$h * factor_$h + total_result(u32($h), invocation);
    //@end
    if (word < WORDS) {
      for (var j = team; j < min(INVOCATIONS, end - base); j += TEAMS) {
        let value = keys_unpack(keys_fetch(rows[j], word), 0u);
        //@repeat h UNIT
        sum_$h = Chunk(
          sum_$h.lo + value.lo * weights[u32($h) * INVOCATIONS + j],
          sum_$h.hi + value.hi * weights[u32($h) * INVOCATIONS + j],
        );
        //@end
      }
    }
    workgroupBarrier();
  }
  //@repeat h UNIT
  {
    shares[index] = sum_$h;
    workgroupBarrier();
    let at = ((token * HEADS + first_head + u32($h)) * SPLITS + group.z) * (L + 2u);
    if (team == 0u && word < WORDS) {
      var sum = sum_$h;
      for (var other = 1u; other < TEAMS; other++) {
        let more = shares[index + other * (INVOCATIONS / TEAMS)];
        sum = Chunk(sum.lo + more.lo, sum.hi + more.hi);
      }
      for (var i = 0u; i < 4u; i++) {
        if (word * 8u + i < L) {
          partials[at + word * 8u + i] = sum.lo[i];
        }
        if (word * 8u + 4u + i < L) {
          partials[at + word * 8u + 4u + i] = sum.hi[i];
        }
      }
    }
    if (index == 0u) {
      partials[at + L] = peak_$h;
      partials[at + L + 1u] = total_$h;
    }
    workgroupBarrier();
  }
  //@end
}
