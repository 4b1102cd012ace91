//@fragment attention/lean_source
//@needs HEADS KV_HEADS D NORM INVOCATIONS ROUNDS_Q ROUNDS_K Invocation Chunk qk_quad v_quad
//@needs q_quad k_quad q_norm_quad k_norm_quad square_share square_join clipped
//@gives QUADS_Q QUADS_K raw_chunk norm_of sum_squares clipped_quad
// How decode_lean.wgsl reads what the projections left, four numbers at a time.
const QUADS_Q = HEADS * D / 4u;
const QUADS_K = KV_HEADS * D / 4u;

// Eight numbers of a query, a key or a value as they come from the projections.
fn raw_chunk(token: u32, quad: u32, is_key: bool, is_value: bool) -> Chunk {
  if (is_value) {
    return Chunk(v_quad(token, quad), v_quad(token, quad + 1u));
  }
  return Chunk(qk_quad(token, quad, is_key), qk_quad(token, quad + 1u, is_key));
}

fn norm_of(quad: u32, is_key: bool, is_value: bool) -> Chunk {
  if (!NORM || is_value) {
    return Chunk(vec4(1.0), vec4(1.0));
  }
  if (is_key) {
    return Chunk(k_norm_quad(quad), k_norm_quad(quad + 1u));
  }
  return Chunk(q_norm_quad(quad), q_norm_quad(quad + 1u));
}

// Σ x² over all heads of the token's q, and of its k.
fn sum_squares(token: u32, invocation: Invocation) {
  //@repeat n ROUNDS_Q
  let q_$n = q_quad(token, min(invocation.index + $n * INVOCATIONS, QUADS_Q - 1u));
  //@end
  //@repeat n ROUNDS_K
  let k_$n = k_quad(token, min(invocation.index + $n * INVOCATIONS, QUADS_K - 1u));
  //@end
  var sum = 0.0;
  //@repeat n ROUNDS_Q
  sum += select(0.0, dot(q_$n, q_$n), invocation.index + $n * INVOCATIONS < QUADS_Q);
  //@end
  square_share(0u, sum, invocation);
  sum = 0.0;
  //@repeat n ROUNDS_K
  sum += select(0.0, dot(k_$n, k_$n), invocation.index + $n * INVOCATIONS < QUADS_K);
  //@end
  square_share(1u, sum, invocation);
  square_join(invocation);
}

fn clipped_quad(x: vec4<f32>) -> vec4<f32> {
  return vec4(clipped(x.x), clipped(x.y), clipped(x.z), clipped(x.w));
}
