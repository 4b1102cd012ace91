//@fragment moe/ranked_logit
//@needs LOWEST
//@gives ranked_logit
// A logit by which experts are ranked: what is no number comes last. It is told by its bits, as compilers
// drop `logit == logit` (NVIDIA's does).
fn ranked_logit(logit: f32) -> f32 {
  let is_number = (bitcast<u32>(logit) & 0x7fffffffu) <= 0x7f800000u;
  return select(LOWEST, logit, is_number);
}
