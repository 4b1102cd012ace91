//@fragment moe/router_scores_general
//@needs LOGIT_SCALE LOWEST ranked_logit
//@gives scaled_logit sigmoid
// The arithmetic of the general choice, for the router that chooses and for experts that do.
fn scaled_logit(logit: f32) -> f32 {
  let ranked = ranked_logit(logit);
  return select(ranked * LOGIT_SCALE, LOWEST, ranked == LOWEST);
}

fn sigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(min(-x, 80.0)));
}
