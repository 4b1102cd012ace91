//@fragment attention/mla/prepare
//@needs Chunk THREADS rotary_pair turn positions rotary_frequency ATTENTION_SCALING q kv D L
//@needs kv_norm Lanes sum_put sum_meet sum_get EPS cache_row sequence_ids keys_put ready HEADS N
//@needs R WORDS PARTS w_unpack w_fetch V
// Brings the latents of a step into the cache, and its queries into the space of the latents.
//
// q [T, HEADS · (N + R)], kv [T, L + R] f32, w [HEADS · (N + V), L]; keys: the cache, rows of D = L + R
// ready [T, HEADS, D] f32: the part without position times the key rows of w, then the part that turns
// Grid: token, head; the last head of the grid is the latent.

var<workgroup> shares: array<Chunk, THREADS>;

// Element d of the part that turns, whose first element is at `first`.
fn turned_q(token: u32, first: u32, d: u32) -> f32 {
  let pair = rotary_pair(d);
  let angle = turn(f32(positions[token]) * rotary_frequency(pair.frequency)) * ATTENTION_SCALING;
  return q[first + d] * angle.x + q[first + pair.other] * angle.y * pair.sign;
}

fn turned_kv(token: u32, first: u32, d: u32) -> f32 {
  let pair = rotary_pair(d);
  let angle = turn(f32(positions[token]) * rotary_frequency(pair.frequency)) * ATTENTION_SCALING;
  return kv[first + d] * angle.x + kv[first + pair.other] * angle.y * pair.sign;
}

fn latent_element(token: u32, d: u32, scale: f32) -> f32 {
  let first = token * D;
  if (d < L) {
    return kv[first + d] * scale * kv_norm[d];
  }
  return turned_kv(token, first + L, d - L);
}

fn store_latent(token: u32, lanes: Lanes) {
  var square = 0.0;
  for (var l = lanes.index; l < L; l += THREADS) {
    let x = kv[token * D + l];
    square += x * x;
  }
  sum_put(0u, square, lanes);
  sum_meet(lanes);
  let scale = inverseSqrt(sum_get(0u, lanes) / f32(L) + EPS);
  let row = cache_row(u32(sequence_ids[token]), u32(positions[token]), 0u);
  for (var c = lanes.index; c < D / 8u; c += THREADS) {
    let d = c * 8u;
    keys_put(row, c, Chunk(
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

@compute @workgroup_size(THREADS)
fn main(lanes: Lanes, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  let head = group.y;
  if (head == HEADS) {
    store_latent(token, lanes);
    return;
  }
  let first = (token * HEADS + head) * (N + R);
  let at = (token * HEADS + head) * D;
  for (var d = lanes.index; d < R; d += THREADS) {
    ready[at + L + d] = turned_q(token, first + N, d);
  }
  for (var base = 0u; base < WORDS; base += THREADS / PARTS) {
    let word = base + lanes.index % (THREADS / PARTS);
    let part = lanes.index / (THREADS / PARTS);
    var sum = Chunk();
    if (word < WORDS) {
      for (var n = part; n < N; n += PARTS) {
        let row = w_unpack(w_fetch(head * (N + V) + n, word), 0u);
        let x = q[first + n];
        sum = Chunk(sum.lo + row.lo * x, sum.hi + row.hi * x);
      }
    }
    shares[lanes.index] = sum;
    workgroupBarrier();
    if (part == 0u && word < WORDS) {
      for (var other = 1u; other < PARTS; other++) {
        let more = shares[lanes.index + other * (THREADS / PARTS)];
        sum = Chunk(sum.lo + more.lo, sum.hi + more.hi);
      }
      store_word(at, word, sum);
    }
    workgroupBarrier();
  }
}
