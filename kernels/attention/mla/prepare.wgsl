//@fragment attention/mla/prepare
//@needs INVOCATIONS ATTENTION_SCALING D L EPS HEADS N R WORDS PARTS V Chunk rotary_pair cos_sin
//@needs positions rotary_frequency q kv kv_norm Invocation sum_share sum_join sum_result cache_row
//@needs sequence_ids keys_store ready w_unpack w_fetch
// Brings the latents of a step into the cache, and its queries into the space of the latents.
//
// q [T, HEADS · (N + R)], kv [T, L + R] f32, w [HEADS · (N + V), L]; keys: the cache, rows of D = L + R
// ready [T, HEADS, D] f32: the part without position times the key rows of w, then the part that turns
// Grid: token, head; the last head of the grid is the latent.

var<workgroup> shares: array<Chunk, INVOCATIONS>;

// Element d of the part that turns, whose first element is at `first`.
fn turned_q(token: u32, first: u32, d: u32) -> f32 {
  let pair = rotary_pair(d);
  let angle = cos_sin(f32(positions[token]) * rotary_frequency(pair.frequency)) * ATTENTION_SCALING;
  return q[first + d] * angle.x + q[first + pair.other] * angle.y * pair.sign;
}

fn turned_kv(token: u32, first: u32, d: u32) -> f32 {
  let pair = rotary_pair(d);
  let angle = cos_sin(f32(positions[token]) * rotary_frequency(pair.frequency)) * ATTENTION_SCALING;
  return kv[first + d] * angle.x + kv[first + pair.other] * angle.y * pair.sign;
}

fn latent_element(token: u32, d: u32, scale: f32) -> f32 {
  let first = token * D;
  if (d < L) {
    return kv[first + d] * scale * kv_norm[d];
  }
  return turned_kv(token, first + L, d - L);
}

fn store_latent(token: u32, invocation: Invocation) {
  var square = 0.0;
  for (var l = invocation.index; l < L; l += INVOCATIONS) {
    let x = kv[token * D + l];
    square += x * x;
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  let scale = inverseSqrt(sum_result(0u, invocation) / f32(L) + EPS);
  let row = cache_row(u32(sequence_ids[token]), u32(positions[token]), 0u);
  for (var c = invocation.index; c < D / 8u; c += INVOCATIONS) {
    let d = c * 8u;
    keys_store(row, c, Chunk(
      vec4(
        latent_element(token, d, scale), latent_element(token, d + 1u, scale),
        latent_element(token, d + 2u, scale), latent_element(token, d + 3u, scale),
      ),
      vec4(
        latent_element(token, d + 4u, scale), latent_element(token, d + 5u, scale),
        latent_element(token, d + 6u, scale), latent_element(token, d + 7u, scale),
      ),
    ));
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

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  let head = group.y;
  if (head == HEADS) {
    store_latent(token, invocation);
    return;
  }
  let first = (token * HEADS + head) * (N + R);
  let at = (token * HEADS + head) * D;
  for (var d = invocation.index; d < R; d += INVOCATIONS) {
    ready[at + L + d] = turned_q(token, first + N, d);
  }
  for (var base = 0u; base < WORDS; base += INVOCATIONS / PARTS) {
    let word = base + invocation.index % (INVOCATIONS / PARTS);
    let part = invocation.index / (INVOCATIONS / PARTS);
    var sum = Chunk();
    if (word < WORDS) {
      for (var n = part; n < N; n += PARTS) {
        let row = w_unpack(w_fetch(head * (N + V) + n, word), 0u);
        let x = q[first + n];
        sum = Chunk(sum.lo + row.lo * x, sum.hi + row.hi * x);
      }
    }
    shares[invocation.index] = sum;
    workgroupBarrier();
    if (part == 0u && word < WORDS) {
      for (var other = 1u; other < PARTS; other++) {
        let more = shares[invocation.index + other * (INVOCATIONS / PARTS)];
        sum = Chunk(sum.lo + more.lo, sum.hi + more.hi);
      }
      store_word(at, word, sum);
    }
    workgroupBarrier();
  }
}
