//@fragment attention/mla/prepare
//@needs INVOCATIONS HEADS PIECES PIECE WORDS N R Q_WIDTH Q_FIRST q Invocation store_latent absorb
//@needs turn_query is_expanded store_query
//@gives query_at
// Brings the latents of a step into the cache, and its queries to the latents, unless their sequence is
// expanded.
//
// q [T, Q_WIDTH] f32, of which the HEADS · (N + R) columns from Q_FIRST on are meant
// Grid: token, piece of PIECE words of a head; the last one of a token is the latent.

fn query_at(token: u32, head: u32, i: u32) -> f32 {
  return q[token * Q_WIDTH + Q_FIRST + head * (N + R) + i];
}

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  if (group.y == HEADS * PIECES) {
    store_latent(token, invocation);
    return;
  }
  let head = group.y / PIECES;
  let first_word = (group.y % PIECES) * PIECE;
  if (is_expanded(token)) {
    if (first_word == 0u) {
      store_query(token, head, invocation.index);
    }
    return;
  }
  if (first_word == 0u) {
    turn_query(token, head, invocation.index);
  }
  absorb(token, head, first_word, min(first_word + PIECE, WORDS), invocation.index);
}
