//@fragment attention/mla/query
//@needs INVOCATIONS HEADS N R WORDS LANES GROUPS SHARE SHARES RANK_WORDS Q_EPS Invocation store_latent
//@needs absorb turn_query store_partial load_partial take_ticket lane_sum u_WORDS u_CHUNKS
//@needs u_COLUMNS u_fetch u_dot x_chunk q_norm_chunk chunk_dot Chunk
//@gives query_at
// Makes the queries of one token of their latents, takes them to the latents of keys and values, and
// brings the token's own latent into the cache: a workgroup makes SHARE numbers of a head's query, and
// the last one of a head to arrive does the rest.
//
// x the latents of queries, u [HEADS · (N + R), rank]; LANES invocations share a row of u
// Grid: share, head; the last head of the grid is the latent.

var<workgroup> query: array<f32, N + R>;
var<workgroup> arrived: u32;

fn query_at(token: u32, head: u32, i: u32) -> f32 {
  return query[i];
}

// The normed latent times a row of u, by LANES neighbours.
fn query_number(row: u32, index: u32) -> f32 {
  var product = 0.0;
  var square = 0.0;
  for (var base = index % LANES; base < u_WORDS; base += LANES * RANK_WORDS) {
    //@repeat r RANK_WORDS
    let w_$r = u_fetch(row, min(base + $r * LANES, u_WORDS - 1u));
    //@end
    //@repeat r RANK_WORDS
    {
      let word = min(base + $r * LANES, u_WORDS - 1u);
      let counts = select(0.0, 1.0, base + $r * LANES < u_WORDS);
      //@repeat p u_CHUNKS
      {
        let x = x_chunk(0u, word * u_CHUNKS + $p);
        let n = q_norm_chunk(0u, word * u_CHUNKS + $p);
        square += counts * chunk_dot(x, x);
        product += counts * u_dot(w_$r, $p, Chunk(x.lo * n.lo, x.hi * n.hi));
      }
      //@end
    }
    //@end
  }
  let sum = lane_sum(vec4(product, square, 0.0, 0.0), index);
  return sum.x * inverseSqrt(sum.y / f32(u_COLUMNS) + Q_EPS);
}

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let head = group.y;
  let index = invocation.index;
  if (head == HEADS) {
    if (group.x == 0u) {
      store_latent(0u, invocation);
    }
    return;
  }
  let first = group.x * SHARE;
  for (var base = 0u; base < SHARE; base += GROUPS) {
    let i = first + base + index / LANES;
    let number = query_number(head * (N + R) + min(i, N + R - 1u), index);
    if (index % LANES == 0u && base + index / LANES < SHARE && i < N + R) {
      if (SHARES == 1u) {
        query[i] = number;
      } else {
        store_partial(head * (N + R) + i, number);
      }
    }
  }
  if (SHARES > 1u) {
    storageBarrier();
    workgroupBarrier();
    if (index == 0u) {
      arrived = take_ticket(head, SHARES);
    }
    if (workgroupUniformLoad(&arrived) + 1u < SHARES) {
      return;
    }
    storageBarrier();
    for (var i = index; i < N + R; i += INVOCATIONS) {
      query[i] = load_partial(head * (N + R) + i);
    }
  }
  workgroupBarrier();
  turn_query(0u, head, index);
  absorb(0u, head, 0u, WORDS, index);
}
