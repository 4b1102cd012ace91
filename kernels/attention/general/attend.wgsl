//@fragment attention/general/attend
//@needs D INVOCATIONS CHUNK HEADS LOWEST GROUP SCALE V ROUNDS first_seen Invocation sequence_ids
//@needs positions ready cache_row keys_cell peak_share peak_join peak_result total_share total_join
//@needs total_result values_cell sink_at y
// Attention of one head of one token over the cache, for heads of any size, with a running softmax.
//
// ready [T, HEADS · D] f32, keys and values the cache, y [T, HEADS · V] f32
// Grid: token, head.

var<workgroup> query: array<f32, D>;
var<workgroup> weights: array<f32, INVOCATIONS>;
var<workgroup> rows: array<u32, INVOCATIONS>;

// Position of the first token that the one at `position` sees in its chunk and window.
fn first_visible(position: u32) -> u32 {
  let near = first_seen(position);
  if (CHUNK == 0u) {
    return near;
  }
  return max(near, position - position % max(CHUNK, 1u));
}

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  let head = group.y;
  let index = invocation.index;
  let sequence = u32(sequence_ids[token]);
  let position = u32(positions[token]);
  for (var d = index; d < D; d += INVOCATIONS) {
    query[d] = ready[(token * HEADS + head) * D + d];
  }
  workgroupBarrier();
  var peak = LOWEST;
  var total = 0.0;
  //@repeat r ROUNDS
  var sum_$r = 0.0;
  //@end
  for (var base = first_visible(position); base <= position; base += INVOCATIONS) {
    let seen = base + index <= position;
    let row = cache_row(sequence, min(base + index, position), head / GROUP);
    var score = LOWEST;
    if (seen) {
      score = 0.0;
      for (var d = 0u; d < D; d++) {
        score += query[d] * keys_cell(row * D + d);
      }
      score *= SCALE;
    }
    peak_share(0u, score, invocation);
    peak_join(invocation);
    let top = max(peak, peak_result(0u, invocation));
    let factor = exp(peak - top);
    peak = top;
    let weight = select(0.0, exp(score - top), seen);
    weights[index] = weight;
    rows[index] = row;
    total_share(0u, weight, invocation);
    total_join(invocation);
    total = total * factor + total_result(0u, invocation);
    //@repeat r ROUNDS
    sum_$r *= factor;
    //@end
    for (var j = 0u; j < min(INVOCATIONS, position + 1u - base); j++) {
      //@repeat r ROUNDS
      sum_$r += weights[j] * values_cell(rows[j] * V + min(index + $r * INVOCATIONS, V - 1u));
      //@end
    }
    workgroupBarrier();
  }
  let sink = sink_at(head);
  let top = max(peak, sink);
  let scale = exp(peak - top) / (total * exp(peak - top) + exp(sink - top));
  //@repeat r ROUNDS
  if (index + $r * INVOCATIONS < V) {
    y[(token * HEADS + head) * V + index + $r * INVOCATIONS] = sum_$r * scale;
  }
  //@end
}
