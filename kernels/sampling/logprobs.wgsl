//@fragment sampling/logprobs
//@needs INVOCATIONS HEADER_WORDS LOWEST V RECORD_WORDS draw_details Best logits is_better best_of
//@needs sum_of history logprobs
// Log-probabilities of the tokens that were drawn, and of the likeliest ones.
//
// logits [R, V] f32, as sampling saw them; history [R] i32: the tokens of the step; draw_details: a
// header of HEADER_WORDS for each row, whose fourth word is one more than the number of likeliest
// tokens, or 0 for rows that want nothing.
// logprobs [R, RECORD_WORDS]: log-probability of the token, how many likeliest there are, then
// pairs of their ids and log-probabilities.
// Grid: row.
//
// The likeliest are found one after the other: each is the largest logit behind the one before.

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let row = group.x;
  let wanted = draw_details[row * HEADER_WORDS + 3u];
  if (wanted == 0u) {
    return;
  }
  var best = Best(LOWEST, 0xffffffffu);
  for (var id = index; id < V; id += INVOCATIONS) {
    let own = Best(max(logits[row * V + id], LOWEST), id);
    if (is_better(own, best)) {
      best = own;
    }
  }
  best = best_of(best.value, best.id, index);
  let peak = best.value;
  var mass = 0.0;
  for (var id = index; id < V; id += INVOCATIONS) {
    mass += exp(max(logits[row * V + id], LOWEST) - peak);
  }
  let total = peak + log(sum_of(mass, index));
  let at = row * RECORD_WORDS;
  if (index == 0u) {
    let token = u32(max(history[row], 0));
    logprobs[at] = bitcast<u32>(logits[row * V + min(token, V - 1u)] - total);
  }
  var found = 0u;
  for (var k = 0u; k + 1u < wanted; k++) {
    // Tokens that may not be drawn, and those of a vocabulary that is too small, are no candidates.
    if (best.value <= LOWEST) {
      break;
    }
    found++;
    if (index == 0u) {
      logprobs[at + 2u + 2u * k] = best.id;
      logprobs[at + 3u + 2u * k] = bitcast<u32>(best.value - total);
    }
    var next = Best(LOWEST, 0xffffffffu);
    for (var id = index; id < V; id += INVOCATIONS) {
      let own = Best(max(logits[row * V + id], LOWEST), id);
      if (is_better(best, own) && is_better(own, next)) {
        next = own;
      }
    }
    best = best_of(next.value, next.id, index);
  }
  if (index == 0u) {
    logprobs[at + 1u] = found;
  }
}
