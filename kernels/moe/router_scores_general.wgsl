//@fragment moe/router_scores_general
//@needs EXPERTS CHOSEN OVER_ALL SIGMOID ONLY_SCORES RENORMALIZE NORM_POWER SUM_OFFSET SUM_FLOOR
//@needs LOGIT_SCALE LOWEST ranked_logit logits_of chosen_score
//@gives scaled_logit sigmoid softmax_terms score_of_logit weight_of total_of
// The arithmetic of the general choice, for the router that chooses and for experts that do. Either gives
// the logits of four experts and the scores of the chosen ones of its tokens.
fn scaled_logit(logit: f32) -> f32 {
  let ranked = ranked_logit(logit);
  return select(ranked * LOGIT_SCALE, LOWEST, ranked == LOWEST);
}

fn sigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(min(-x, 80.0)));
}

// The largest logit of a token, and the sum of the exponentials below it.
fn softmax_terms(token: u32) -> vec2<f32> {
  var top = vec4(LOWEST);
  for (var first = 0u; first < EXPERTS; first += 4u) {
    let ids = vec4(first) + vec4(0u, 1u, 2u, 3u);
    top = max(top, select(vec4(LOWEST), logits_of(token, first), ids < vec4(EXPERTS)));
  }
  let largest = max(max(top.x, top.y), max(top.z, top.w));
  var total = vec4(0.0);
  for (var first = 0u; first < EXPERTS; first += 4u) {
    let ids = vec4(first) + vec4(0u, 1u, 2u, 3u);
    let own = exp(logits_of(token, first) - vec4(largest));
    total += select(vec4(0.0), own, ids < vec4(EXPERTS));
  }
  return vec2(largest, total.x + total.y + total.z + total.w);
}

fn score_of_logit(logit: f32, softmax: vec2<f32>) -> f32 {
  if (!OVER_ALL) {
    return logit;
  }
  if (SIGMOID) {
    return sigmoid(logit);
  }
  return exp(logit - softmax.x) / softmax.y;
}

// The weight of a chosen slot before the renormalisation.
fn weight_of(token: u32, slot: u32) -> f32 {
  let own = chosen_score(token, slot);
  if (ONLY_SCORES) {
    return own;
  }
  if (SIGMOID) {
    return sigmoid(own);
  }
  var top = LOWEST;
  for (var other = 0u; other < CHOSEN; other++) {
    top = max(top, chosen_score(token, other));
  }
  var total = 0.0;
  for (var other = 0u; other < CHOSEN; other++) {
    total += exp(chosen_score(token, other) - top);
  }
  return exp(own - top) / total;
}

// What the weights of a token are divided by.
fn total_of(token: u32) -> f32 {
  if (!RENORMALIZE) {
    return 1.0;
  }
  var total = 0.0;
  for (var slot = 0u; slot < CHOSEN; slot++) {
    let term = weight_of(token, slot);
    total += select(pow(term, NORM_POWER), term, NORM_POWER == 1.0);
  }
  total = select(pow(total, 1.0 / NORM_POWER), total, NORM_POWER == 1.0);
  return max(total + SUM_OFFSET, SUM_FLOOR);
}
