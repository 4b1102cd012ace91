//@fragment eager/attention
//@needs THREADS D GROUP LOWEST WINDOW SCALE ROUNDS Lanes step positions q k peak_put peak_meet
//@needs peak_get total_put total_meet total_get v sink_at y
// Attention without a cache, for graphs before `insert_cached_attention`: softmax(SCALE · q · kᵀ +
// causal mask by position) · v, one query of one head a workgroup, with a running softmax.
//
// q, y [HEADS, T, D], k, v [KV_HEADS, T, D] f32
// Grid: token, head. ROUNDS is ceil(D / THREADS).

var<workgroup> weights: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(lanes: Lanes, @builtin(workgroup_id) group: vec3<u32>) {
  let tokens = step.x;
  let token = group.x;
  let head = group.y;
  let index = lanes.index;
  let position = positions[token];
  let query = (head * tokens + token) * D;
  let first = (head / GROUP) * tokens;
  var peak = LOWEST;
  var total = 0.0;
  //@repeat r ROUNDS
  var sum_$r = 0.0;
  //@end
  for (var base = 0u; base < tokens; base += THREADS) {
    let other = min(base + index, tokens - 1u);
    let back = position - positions[other];
    let seen = base + index < tokens && back >= 0 && (WINDOW == 0u || u32(back) < WINDOW);
    var score = 0.0;
    for (var d = 0u; d < D; d++) {
      score += q[query + d] * k[(first + other) * D + d];
    }
    score = select(LOWEST, score * SCALE, seen);
    peak_put(0u, score, lanes);
    peak_meet(lanes);
    let top = max(peak, peak_get(0u, lanes));
    let factor = exp(peak - top);
    peak = top;
    let weight = select(0.0, exp(score - top), seen);
    weights[index] = weight;
    total_put(0u, weight, lanes);
    total_meet(lanes);
    total = total * factor + total_get(0u, lanes);
    //@repeat r ROUNDS
    sum_$r *= factor;
    //@end
    for (var j = 0u; j < min(THREADS, tokens - base); j++) {
      //@repeat r ROUNDS
      sum_$r += weights[j] * v[(first + base + j) * D + min(index + $r * THREADS, D - 1u)];
      //@end
    }
    workgroupBarrier();
  }
  let sink = sink_at(head);
  let top = max(peak, sink);
  let scale = exp(peak - top) / (total * exp(peak - top) + exp(sink - top));
  //@repeat r ROUNDS
  if (index + $r * THREADS < D) {
    y[query + index + $r * THREADS] = sum_$r * scale;
  }
  //@end
}
