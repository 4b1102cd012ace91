//@fragment linear/erfc
//@gives erfc
// erfc by the rational Chebyshev fit of Numerical Recipes (erfcc), whose relative error is
// below 1.2e-7 everywhere, so the far negative side is right as well.
fn erfc(x: f32) -> f32 {
  let z = abs(x);
  let t = 1.0 / (1.0 + 0.5 * z);
  let p = fma(t, 0.17087277, -0.82215223);
  let q = fma(t, fma(t, fma(t, p, 1.48851587), -1.13520398), 0.27886807);
  let r = fma(t, fma(t, fma(t, fma(t, q, -0.18628806), 0.09678418), 0.37409196), 1.00002368);
  let tail = t * exp(max(fma(-z, z, fma(t, r, -1.26551223)), -80.0));
  return select(tail, 2.0 - tail, x < 0.0);
}
