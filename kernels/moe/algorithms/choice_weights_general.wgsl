//@fragment moe/algorithms/choice_weights_general
//@needs E EXPERTS TOP_K CHOSEN OVER_ALL SIGMOID SCALE SHARED_GATE INVOCATIONS logits selected
//@needs routing_weights correction_at expert_scale_at ranked_logit scaled_logit sigmoid softmax_terms
//@needs score_of_logit weight_of total_of
//@gives score_at value_of write_weights logits_of chosen_score
// Scores of routers with corrections, shared slots, scales and bounds, and the weights of chosen
// experts.
var<private> softmax = vec2(0.0, 1.0);

fn score_at(token: u32, expert: u32) -> f32 {
  return scaled_logit(logits[token * E + expert]);
}

// Those of four experts; where there are fewer, the last one's again.
fn logits_of(token: u32, first: u32) -> vec4<f32> {
  let ids = min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(EXPERTS - 1u));
  return vec4(
    score_at(token, ids.x), score_at(token, ids.y), score_at(token, ids.z), score_at(token, ids.w),
  );
}

// What experts are ranked by. A softmax is left undivided, which is the same order; of infinite logits
// it is NaN, one of which has the key of an expert that is taken.
fn value_of(score: f32, expert: u32, top: f32) -> f32 {
  return ranked_logit(score_of_logit(score, vec2(top, 1.0)) + correction_at(expert));
}

fn chosen_score(token: u32, slot: u32) -> f32 {
  return score_of_logit(score_at(token, u32(selected[token * TOP_K + slot])), softmax);
}

fn write_weights(token: u32, index: u32) {
  if (OVER_ALL && !SIGMOID) {
    softmax = softmax_terms(token);
  }
  let total = total_of(token);
  for (var slot = index; slot < TOP_K; slot += INVOCATIONS) {
    var weight = 1.0;
    if (slot < CHOSEN) {
      let expert = u32(selected[token * TOP_K + slot]);
      weight = weight_of(token, slot) / total * SCALE * expert_scale_at(expert);
    } else if (SHARED_GATE) {
      weight = sigmoid(score_at(token, EXPERTS));
    }
    routing_weights[token * TOP_K + slot] = weight;
  }
}
