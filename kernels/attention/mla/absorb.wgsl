//@fragment attention/mla/absorb
//@needs INVOCATIONS PARTS UNROLL N R V L D HEADS Chunk w_fetch w_unpack query_at ready rotary_pair
//@needs rotary_angle
//@gives absorb turn_query
// Takes a query to the latents: its part without position times the key rows of w. The query is
// `query_at(token, head, i)`, i below N + R.
//
// w [HEADS · (N + V), L]; ready [T, HEADS, D = L + R] f32

var<workgroup> shares: array<Chunk, INVOCATIONS>;

// Words first_word to end_word - 1 of the result: PARTS groups of invocations share the key rows.
fn absorb(token: u32, head: u32, first_word: u32, end_word: u32, index: u32) {
  let at = (token * HEADS + head) * D;
  let part = index / (INVOCATIONS / PARTS);
  for (var base = first_word; base < end_word; base += INVOCATIONS / PARTS) {
    let word = base + index % (INVOCATIONS / PARTS);
    var sum = Chunk();
    if (word < end_word) {
      for (var n = part; n < N; n += PARTS * UNROLL) {
        //@repeat u UNROLL
        let n_$u = min(n + $u * PARTS, N - 1u);
        let w_$u = w_fetch(head * (N + V) + n_$u, word);
        //@end
        //@repeat u UNROLL
        {
          let row = w_unpack(w_$u, 0u);
          let x = select(0.0, query_at(token, head, n_$u), n + $u * PARTS < N);
          sum = Chunk(sum.lo + row.lo * x, sum.hi + row.hi * x);
        }
        //@end
      }
    }
    shares[index] = sum;
    workgroupBarrier();
    if (part == 0u && word < end_word) {
      for (var other = 1u; other < PARTS; other++) {
        let more = shares[index + other * (INVOCATIONS / PARTS)];
        sum = Chunk(sum.lo + more.lo, sum.hi + more.hi);
      }
      store_word(at, word, sum);
    }
    workgroupBarrier();
  }
}

fn store_word(at: u32, word: u32, value: Chunk) {
  for (var i = 0u; i < 4u; i++) {
    if (word * 8u + i < L) {
      ready[at + word * 8u + i] = value.lo[i];
    }
    if (word * 8u + 4u + i < L) {
      ready[at + word * 8u + 4u + i] = value.hi[i];
    }
  }
}

// The part of the query that turns.
fn turn_query(token: u32, head: u32, index: u32) {
  for (var d = index; d < R; d += INVOCATIONS) {
    let pair = rotary_pair(d);
    let angle = rotary_angle(token, d);
    ready[(token * HEADS + head) * D + L + d] = query_at(token, head, N + d) * angle.x +
      query_at(token, head, N + pair.other) * angle.y * pair.sign;
  }
}
