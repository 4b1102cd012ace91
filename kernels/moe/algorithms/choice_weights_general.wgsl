//@fragment moe/algorithms/choice_weights_general
//@needs E EXPERTS TOP_K CHOSEN LOWEST OVER_ALL SIGMOID RENORMALIZE NORM_POWER SUM_OFFSET
//@needs SUM_FLOOR SCALE SHARED_GATE INVOCATIONS logits selected routing_weights correction_at
//@needs expert_scale_at scaled_logit sigmoid
//@gives score_at value_of write_weights
// Scores of routers with corrections, shared slots, scales and bounds, and the weights of chosen
// experts.
fn score_at(token: u32, expert: u32) -> f32 {
  return scaled_logit(logits[token * E + expert]);
}

// What experts are ranked by. A softmax is left undivided, which is the same order.
fn value_of(score: f32, expert: u32, top: f32) -> f32 {
  var value = score;
  if (OVER_ALL) {
    if (SIGMOID) {
      value = sigmoid(score);
    } else {
      value = exp(score - top);
    }
  }
  return value + correction_at(expert);
}

// The largest logit of a token, and the sum of the exponentials below it.
fn softmax_terms(token: u32) -> vec2<f32> {
  var largest = LOWEST;
  for (var expert = 0u; expert < EXPERTS; expert++) {
    largest = max(largest, score_at(token, expert));
  }
  var total = vec4(0.0);
  for (var expert = 0u; expert < EXPERTS; expert += 4u) {
    let ids = vec4(expert) + vec4(0u, 1u, 2u, 3u);
    let own = vec4(
      score_at(token, ids.x), score_at(token, min(ids.y, EXPERTS - 1u)),
      score_at(token, min(ids.z, EXPERTS - 1u)), score_at(token, min(ids.w, EXPERTS - 1u)),
    );
    total += select(vec4(0.0), exp(own - vec4(largest)), ids < vec4(EXPERTS));
  }
  return vec2(largest, total.x + total.y + total.z + total.w);
}

// The score of a chosen slot, before anything is renormalised.
fn chosen_score(token: u32, slot: u32, terms: vec2<f32>) -> f32 {
  let logit = score_at(token, u32(selected[token * TOP_K + slot]));
  if (!OVER_ALL) {
    return logit;
  }
  if (SIGMOID) {
    return sigmoid(logit);
  }
  return exp(logit - terms.x) / terms.y;
}

fn weight_of(token: u32, slot: u32, terms: vec2<f32>) -> f32 {
  let own = chosen_score(token, slot, terms);
  if (OVER_ALL) {
    return own;
  }
  if (SIGMOID) {
    return sigmoid(own);
  }
  var top = LOWEST;
  for (var other = 0u; other < CHOSEN; other++) {
    top = max(top, chosen_score(token, other, terms));
  }
  var total = 0.0;
  for (var other = 0u; other < CHOSEN; other++) {
    total += exp(chosen_score(token, other, terms) - top);
  }
  return exp(own - top) / total;
}

fn write_weights(token: u32, index: u32) {
  var terms = vec2(0.0, 1.0);
  if (OVER_ALL && !SIGMOID) {
    terms = softmax_terms(token);
  }
  var total = 1.0;
  if (RENORMALIZE) {
    total = 0.0;
    for (var slot = 0u; slot < CHOSEN; slot++) {
      let term = weight_of(token, slot, terms);
      total += select(pow(term, NORM_POWER), term, NORM_POWER == 1.0);
    }
    total = select(pow(total, 1.0 / NORM_POWER), total, NORM_POWER == 1.0);
    total = max(total + SUM_OFFSET, SUM_FLOOR);
  }
  for (var slot = index; slot < TOP_K; slot += INVOCATIONS) {
    var weight = 1.0;
    if (slot < CHOSEN) {
      let expert = u32(selected[token * TOP_K + slot]);
      weight = weight_of(token, slot, terms) / total * SCALE * expert_scale_at(expert);
    } else if (SHARED_GATE) {
      weight = sigmoid(score_at(token, EXPERTS));
    }
    routing_weights[token * TOP_K + slot] = weight;
  }
}
