//@fragment moe/algorithms/choice_weights
//@needs E TOP_K CHOSEN SIGMOID OVER_ALL RENORMALIZE SCALE CHOICE_LANES ROUTER_INVOCATIONS INVOCATIONS
//@needs logits selected routing_weights score_of_logit weight_of_score
//@gives score_at value_of write_weights
// Scores of the plain choice, and the weights of chosen experts.
fn score_at(token: u32, expert: u32) -> f32 {
  return score_of_logit(logits[token * E + expert]);
}

fn value_of(score: f32, expert: u32, top: f32) -> f32 {
  return score;
}

fn chosen_score(token: u32, slot: u32) -> f32 {
  return score_at(token, u32(selected[token * TOP_K + slot]));
}

fn weight_of(token: u32, slot: u32, top: f32, all: f32) -> f32 {
  return weight_of_score(chosen_score(token, slot), top, all);
}

fn write_weights(token: u32, index: u32) {
  let top = chosen_score(token, 0u);
  var all = 1.0;
  if (!SIGMOID && OVER_ALL && !RENORMALIZE) {
    all = sum_of_all(token, index % CHOICE_LANES, top);
  }
  var total = 1.0;
  if (RENORMALIZE || (!SIGMOID && !OVER_ALL)) {
    total = 0.0;
    for (var slot = 0u; slot < CHOSEN; slot++) {
      total += weight_of(token, slot, top, all);
    }
  }
  for (var slot = index; slot < CHOSEN; slot += INVOCATIONS) {
    routing_weights[token * TOP_K + slot] = weight_of(token, slot, top, all) / total * SCALE;
  }
}

// Σ exp(score - top) over all experts, in the order in which a router of ROUTER_INVOCATIONS adds.
fn sum_of_all(token: u32, lane: u32, top: f32) -> f32 {
  let is_copy = subgroupExclusiveAdd(1u) >= CHOICE_LANES;
  var total = 0.0;
  for (var part = 0u; part < ROUTER_INVOCATIONS; part += CHOICE_LANES) {
    var share = 0.0;
    for (var expert = part + lane; expert < E; expert += ROUTER_INVOCATIONS) {
      share += exp(score_at(token, expert) - top);
    }
    total += subgroupAdd(select(share, 0.0, is_copy));
  }
  return total;
}
