//@fragment moe/router_scores
//@needs SIGMOID OVER_ALL RENORMALIZE ranked_logit
//@gives score_of_logit weight_of_score
// The arithmetic of the plain choice, for the router that chooses and for experts that do.
fn score_of_logit(logit: f32) -> f32 {
  let score = ranked_logit(logit);
  if (SIGMOID) {
    return 1.0 / (1.0 + exp(-score));
  }
  return score;
}

// The weight of a score before the renormalisation; `top` is the best score and `all` the softmax's sum.
fn weight_of_score(score: f32, top: f32, all: f32) -> f32 {
  if (SIGMOID) {
    return score;
  }
  return exp(score - top) / select(1.0, all, OVER_ALL && !RENORMALIZE);
}
