//@fragment eager/attention
//@needs INVOCATIONS D GROUP LOWEST WINDOW SCALE ROUNDS Invocation step positions q k peak_share
//@needs peak_join peak_result total_share total_join total_result v sink_at y
// Attention without a cache, for graphs before `insert_cached_attention`: softmax(SCALE · q · kᵀ +
// causal mask by position) · v, one query of one head a workgroup, with a running softmax.
//
// q, y [HEADS, T, D], k, v [KV_HEADS, T, D] f32
// Grid: token, head. ROUNDS is ceil(D / INVOCATIONS).

var<workgroup> weights: array<f32, INVOCATIONS>;

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let tokens = step.x;
  let token = group.x;
  let head = group.y;
  let index = invocation.index;
  let position = positions[token];
  let query = (head * tokens + token) * D;
  let first = (head / GROUP) * tokens;
  var peak = LOWEST;
  var total = 0.0;
  //@repeat r ROUNDS
  var sum_$r = 0.0;
  //@end
  for (var base = 0u; base < tokens; base += INVOCATIONS) {
    let other = min(base + index, tokens - 1u);
    let back = position - positions[other];
    let seen = base + index < tokens && back >= 0 && (WINDOW == 0u || u32(back) < WINDOW);
    var score = 0.0;
    for (var d = 0u; d < D; d++) {
      score += q[query + d] * k[(first + other) * D + d];
    }
    score = select(LOWEST, score * SCALE, seen);
    peak_share(0u, score, invocation);
    peak_join(invocation);
    let top = max(peak, peak_result(0u, invocation));
    let factor = exp(peak - top);
    peak = top;
    let weight = select(0.0, exp(score - top), seen);
    weights[index] = weight;
    total_share(0u, weight, invocation);
    total_join(invocation);
    total = total * factor + total_result(0u, invocation);
    //@repeat r ROUNDS
    sum_$r *= factor;
    //@end
    for (var j = 0u; j < min(INVOCATIONS, tokens - base); j++) {
      //@repeat r ROUNDS
      sum_$r += weights[j] * v[(first + base + j) * D + min(index + $r * INVOCATIONS, D - 1u)];
      //@end
    }
    workgroupBarrier();
  }
  let sink = sink_at(head);
  let top = max(peak, sink);
  let scale = exp(peak - top) / (total * exp(peak - top) + exp(sink - top));
  //@repeat r ROUNDS
  if (index + $r * INVOCATIONS < D) {
    y[query + index + $r * INVOCATIONS] = sum_$r * scale;
  }
  //@end
}
