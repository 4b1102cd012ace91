//@fragment attention/mla/attend
//@needs UNIT D INVOCATIONS SPLITS HEADS TEAMS LANES WORDS WORDS_IN_FLIGHT KEYS_IN_FLIGHT LOWEST SCALE
//@needs L Chunk ready Invocation sequence_ids positions cache_row keys_of_share
//@needs keys_unpack keys_fetch chunk_dot lane_sum peak_share peak_join peak_result total_share
//@needs total_join total_result chunk_scale partials is_expanded
// Attention over latents: UNIT heads of one token, over one share of its context.
//
// ready [T, HEADS, D] f32, keys: the cache, rows of D = L + R numbers of which the first L are the values
// partials [T, HEADS, SPLITS, L + 2] f32: the sums, their largest score, the sum of the weights
// Grid: token, unit of heads, split.
//
// A tile has a key for each invocation. For the scores LANES neighbours share a key and hold two of
// them at a time, so that a query's number is read from workgroup memory once for both; for the sums
// TEAMS groups of invocations share the keys, and each invocation holds 8 numbers of every head.

const D_WORDS = D / 8u;
// Keys that the invocations hold at a time.
const STEP_KEYS = INVOCATIONS / LANES;

var<workgroup> queries: array<Chunk, UNIT * D_WORDS>;
// Scores of a key for each head, then its weights.
var<workgroup> weights: array<vec4<f32>, INVOCATIONS>;
var<workgroup> rows: array<u32, INVOCATIONS>;
var<workgroup> shares: array<Chunk, INVOCATIONS>;

fn query_word(i: u32) -> Chunk {
  return Chunk(
    vec4(ready[i], ready[i + 1u], ready[i + 2u], ready[i + 3u]),
    vec4(ready[i + 4u], ready[i + 5u], ready[i + 6u], ready[i + 7u]),
  );
}

// Scores of the keys from `first` on, STEP_KEYS apart, without SCALE.
fn score_keys(first: u32, index: u32) {
  let lane = index % LANES;
  let key = first + index / LANES;
  let near = rows[min(key, INVOCATIONS - 1u)];
  let far = rows[min(key + STEP_KEYS, INVOCATIONS - 1u)];
  var sum = vec4<f32>();
  var far_sum = vec4<f32>();
  for (var base = lane; base < D_WORDS; base += LANES * WORDS_IN_FLIGHT) {
    //@repeat w WORDS_IN_FLIGHT
    let word_$w = min(base + $w * LANES, D_WORDS - 1u);
    let near_$w = keys_fetch(near, word_$w);
    let far_$w = keys_fetch(far, word_$w);
    //@end
    // No branches here: a compiler would ask for each word only inside its own.
    //@repeat w WORDS_IN_FLIGHT
    {
      let a = keys_unpack(near_$w, 0u);
      let b = keys_unpack(far_$w, 0u);
      let counts = select(0.0, 1.0, base + $w * LANES < D_WORDS);
      //@repeat h UNIT
      {
        let query = queries[u32($h) * D_WORDS + word_$w];
        sum[$h] += counts * chunk_dot(a, query);
        far_sum[$h] += counts * chunk_dot(b, query);
      }
      //@end
    }
    //@end
  }
  let score = lane_sum(sum, index);
  let far_score = lane_sum(far_sum, index);
  if (lane == 0u && key < INVOCATIONS) {
    weights[key] = score;
  }
  if (lane == 0u && key + STEP_KEYS < INVOCATIONS) {
    weights[key + STEP_KEYS] = far_score;
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  let first_head = group.y * UNIT;
  let index = invocation.index;
  let sequence = u32(sequence_ids[token]);
  let context = u32(positions[token]) + 1u;
  let share = keys_of_share(context);
  let begin = min(context, group.z * share);
  let end = min(context, begin + share);
  if (begin == end || is_expanded(token)) {
    return;
  }
  for (var i = index; i < UNIT * D_WORDS; i += INVOCATIONS) {
    queries[i] = query_word((token * HEADS + first_head) * D + i * 8u);
  }
  let word = index % (INVOCATIONS / TEAMS);
  let team = index / (INVOCATIONS / TEAMS);
  //@repeat h UNIT
  var peak_$h = LOWEST;
  var total_$h = 0.0;
  var sum_$h = Chunk();
  //@end
  for (var base = begin; base < end; base += INVOCATIONS) {
    let count = min(INVOCATIONS, end - base);
    rows[index] = cache_row(sequence, min(base + index, end - 1u), 0u);
    workgroupBarrier();
    for (var first = 0u; first < count; first += 2u * STEP_KEYS) {
      score_keys(first, index);
    }
    workgroupBarrier();
    let seen = index < count;
    let own = weights[index];
    //@repeat h UNIT
    let score_$h = select(LOWEST, own[$h] * SCALE, seen);
    peak_share(u32($h), score_$h, invocation);
    //@end
    peak_join(invocation);
    var weight = vec4<f32>();
    //@repeat h UNIT
    let top_$h = max(peak_$h, peak_result(u32($h), invocation));
    let factor_$h = exp(peak_$h - top_$h);
    peak_$h = top_$h;
    weight[$h] = select(0.0, exp(score_$h - top_$h), seen);
    total_share(u32($h), weight[$h], invocation);
    sum_$h = chunk_scale(sum_$h, factor_$h);
    //@end
    weights[index] = weight;
    total_join(invocation);
    //@repeat h UNIT
    total_$h = total_$h * factor_$h + total_result(u32($h), invocation);
    //@end
    for (var j = team; word < WORDS && j < count; j += TEAMS * KEYS_IN_FLIGHT) {
      //@repeat k KEYS_IN_FLIGHT
      let value_$k = keys_fetch(rows[min(j + $k * TEAMS, INVOCATIONS - 1u)], word);
      //@end
      // Keys behind the end weigh nothing.
      //@repeat k KEYS_IN_FLIGHT
      {
        let value = keys_unpack(value_$k, 0u);
        let near = min(j + $k * TEAMS, INVOCATIONS - 1u);
        let by = select(vec4<f32>(), weights[near], j + $k * TEAMS < count);
        //@repeat h UNIT
        sum_$h = Chunk(sum_$h.lo + value.lo * by[$h], sum_$h.hi + value.hi * by[$h]);
        //@end
      }
      //@end
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
