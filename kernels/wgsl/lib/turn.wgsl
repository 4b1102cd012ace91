// Cosine and sine of any angle, to about 1e-7. The built-in functions promise 2^-11, and only
// between -π and π; positions of a long context are far outside. Reduction to ±π/4 in four parts
// of π/2 (Cody and Waite), then the polynomials of Cephes' sinf and cosf.
fn turn(angle: f32) -> vec2<f32> {
  let quarter = round(angle * 0.63661977f);
  var r = fma(quarter, -1.5703125f, angle);
  r = fma(quarter, -4.837513e-4f, r);
  r = fma(quarter, -7.5495336e-8f, r);
  r = fma(quarter, -2.563344e-12f, r);
  let s = r * r;
  let sine = r + r * s * fma(s, fma(s, -1.9515296e-4f, 8.3321609e-3f), -1.6666655e-1f);
  let cosine = 1.0 - 0.5 * s +
    s * s * fma(s, fma(s, 2.4433157e-5f, -1.3887316e-3f), 4.1666646e-2f);
  let even = select(vec2(sine, cosine), vec2(cosine, sine), (i32(quarter) & 1i) == 0i);
  let q = u32(i32(quarter)) & 3u;
  return even * vec2(
    select(1.0, -1.0, q == 1u || q == 2u),
    select(1.0, -1.0, q == 2u || q == 3u),
  );
}
