//@fragment sampling/row
//@needs V SEEN_WORDS LOWEST seen
//@gives Draw is_greedy has_top_k is_filtered penalized is_broken tempered gumbel
// The logits of a row as sampling sees them, and randomness. `kernels/cpu/sample.ts` gives the
// algorithm; this is its twin.

// How the token of a row is drawn, eight words: temperature, top-k, top-p, min-p, repetition
// penalty, seed, row of `seen`, flags.
struct Draw {
  temperature: f32,
  top_k: u32,
  top_p: f32,
  min_p: f32,
  penalty: f32,
  seed: u32,
  slot: u32,
  flags: u32,
}

fn is_greedy(draw: Draw) -> bool {
  return draw.temperature == 0.0;
}

fn has_top_k(draw: Draw) -> bool {
  return draw.top_k > 0u && draw.top_k < V;
}

// Whether some tokens are left out, so that the choice needs the largest logit first.
fn is_filtered(draw: Draw) -> bool {
  return has_top_k(draw) || draw.top_p < 1.0 || draw.min_p > 0.0;
}

// The logit of a token after the repetition penalty; LOWEST stands for -infinity.
fn penalized(logit: f32, id: u32, draw: Draw) -> f32 {
  var result = logit;
  if (draw.penalty != 1.0) {
    let word = atomicLoad(&seen[draw.slot * SEEN_WORDS + id / 32u]);
    if (((word >> (id % 32u)) & 1u) == 1u) {
      result = select(logit * draw.penalty, logit / draw.penalty, logit > 0.0);
    }
  }
  return max(result, LOWEST);
}

// NaN or +infinity, told by their bits: comparisons of floats may be optimized away.
fn is_broken(logit: f32) -> bool {
  let bits = bitcast<u32>(logit);
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}

fn tempered(logit: f32, draw: Draw) -> f32 {
  return max(logit / draw.temperature, LOWEST);
}

// PCG-RXS-M-XS-32 as a hash.
fn pcg(x: u32) -> u32 {
  let state = x * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}

// -log(-log(u)) with u = (n + 0.5) / 2^24, n the upper 24 bits of the hash. Near 1 neither u nor its
// logarithm has enough digits in f32, so there -log(u) is the series of 2 artanh(v / (2 - v)) with
// v = 1 - u, which is exact.
fn gumbel(draw: Draw, position: u32, id: u32) -> f32 {
  let n = pcg(draw.seed ^ pcg(position ^ pcg(id))) >> 8u;
  var exponential = 0.0;
  if (n < 0x800000u) {
    exponential = -log((f32(n) + 0.5) * 5.9604645e-8f);
  } else {
    let v = (f32(0xffffffu - n) + 0.5) * 5.9604645e-8f;
    let s = v / (2.0 - v);
    let q = s * s;
    let low = fma(q, fma(q, fma(q, 0.076923077f, 0.09090909f), 0.11111111f), 0.14285715f);
    exponential = 2.0 * s * fma(q, fma(q, fma(q, low, 0.2f), 0.33333334f), 1.0);
  }
  return -log(exponential);
}
