//@fragment attention/general/attend
//@needs D THREADS first_seen CHUNK Lanes sequence_ids positions ready HEADS LOWEST cache_row
//@needs GROUP keys_cell SCALE peak_put peak_meet peak_get total_put total_meet total_get
//@needs values_cell V sink_at y ROUNDS
// Attention of one head of one token over the cache, for heads of any size, with a running softmax.
//
// ready [T, HEADS · D] f32, keys and values the cache, y [T, HEADS · V] f32
// Grid: token, head.

var<workgroup> query: array<f32, D>;
var<workgroup> weights: array<f32, THREADS>;
var<workgroup> rows: array<u32, THREADS>;

// Position of the first token that the one at `position` sees in its chunk and window.
fn first_visible(position: u32) -> u32 {
  let near = first_seen(position);
  if (CHUNK == 0u) {
    return near;
  }
  return max(near, position - position % max(CHUNK, 1u));
}

@compute @workgroup_size(THREADS)
fn main(lanes: Lanes, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  let head = group.y;
  let thread = lanes.index;
  let sequence = u32(sequence_ids[token]);
  let position = u32(positions[token]);
  for (var d = thread; d < D; d += THREADS) {
    query[d] = ready[(token * HEADS + head) * D + d];
  }
  workgroupBarrier();
  var peak = LOWEST;
  var total = 0.0;
  //@repeat r ROUNDS
  var sum_$r = 0.0;
  //@end
  for (var base = first_visible(position); base <= position; base += THREADS) {
    let seen = base + thread <= position;
    let row = cache_row(sequence, min(base + thread, position), head / GROUP);
    var score = LOWEST;
    if (seen) {
      score = 0.0;
      for (var d = 0u; d < D; d++) {
        score += query[d] * keys_cell(row * D + d);
      }
      score *= SCALE;
    }
    peak_put(0u, score, lanes);
    peak_meet(lanes);
    let top = max(peak, peak_get(0u, lanes));
    let factor = exp(peak - top);
    peak = top;
    let weight = select(0.0, exp(score - top), seen);
    weights[thread] = weight;
    rows[thread] = row;
    total_put(0u, weight, lanes);
    total_meet(lanes);
    total = total * factor + total_get(0u, lanes);
    //@repeat r ROUNDS
    sum_$r *= factor;
    //@end
    for (var j = 0u; j < min(THREADS, position + 1u - base); j++) {
      //@repeat r ROUNDS
      sum_$r += weights[j] * values_cell(rows[j] * V + min(thread + $r * THREADS, V - 1u));
      //@end
    }
    workgroupBarrier();
  }
  let sink = sink_at(head);
  let top = max(peak, sink);
  let scale = exp(peak - top) / (total * exp(peak - top) + exp(sink - top));
  //@repeat r ROUNDS
  if (thread + $r * THREADS < V) {
    y[(token * HEADS + head) * V + thread + $r * THREADS] = sum_$r * scale;
  }
  //@end
}
