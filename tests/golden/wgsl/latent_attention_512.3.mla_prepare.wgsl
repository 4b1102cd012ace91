const w_COLUMNS = 512u;
const w_CHUNKS = 1u;
const w_WORDS = 64u;
const w_FIRST_ROW = 0u;
const keys_COLUMNS = 576u;
const keys_FIRST_ROW = 0u;
const HEADS = 20u;
const N = 192u;
const R = 64u;
const V = 256u;
const L = 512u;
const D = 576u;
const KV_HEADS = 1u;
const PAGE = 16u;
const WINDOW = 0u;
const LONG_RUN = 1u;
const WORDS = 64u;
const SPLITS = 1u;
const LEAST_SHARE = 32u;
const LOWEST = -3.4028234663852886e+38f;
const INVOCATIONS = 128u;
const PARTS = 2u;
const UNROLL = 12u;
const EPS = 9.999999974752427e-7f;
const ROTARY = 64u;
const ATTENTION_SCALING = 1.0f;
const KV_WIDTH = 1344u;
const KV_FIRST = 768u;
const SUMS = 1u;
const PIECE = 64u;
const PIECES = 1u;
const Q_WIDTH = 5120u;
const Q_FIRST = 0u;
const NOT_EXPANDED = 4294967295u;

@group(0) @binding(0) var<storage, read> positions: array<i32>;
@group(0) @binding(1) var<storage, read> sequence_ids: array<i32>;
@group(0) @binding(2) var<storage, read> block_table: array<i32>;
@group(0) @binding(3) var<uniform> step: vec4<u32>;
@group(0) @binding(4) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> keys: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> kv: array<f32>;
@group(0) @binding(7) var<storage, read> kv_norm: array<f32>;
@group(0) @binding(8) var<storage, read> inv_freq: array<f32>;
@group(0) @binding(9) var<storage, read_write> ready: array<f32>;
@group(0) @binding(10) var<storage, read> q: array<f32>;
@group(0) @binding(11) var<storage, read> plan: array<u32>;
@group(0) @binding(12) var<storage, read_write> turned: array<f32>;

// Where the cache holds a position: row of [pages · KV_HEADS · PAGE] rows of D numbers.
fn cache_row(sequence: u32, position: u32, kv_head: u32) -> u32 {
  let page = u32(block_table[sequence * step.w + position / PAGE]);
  return (page * KV_HEADS + kv_head) * PAGE + position % PAGE;
}

// Position of the first token that the one at `position` sees.
fn first_seen(position: u32) -> u32 {
  return select(0u, position + 1u - min(WINDOW, position + 1u), WINDOW > 0u);
}

// Tokens of a step that has this one. Mesa's software adapter compiles a shader anew in every dispatch where
// a loop ends at a number of a uniform buffer alone; this one depends on the invocation too.
fn step_tokens(token: u32) -> u32 {
  return max(step.x, token + 1u);
}

// Whether a token is one of at least LONG_RUN neighbours of the same sequence: those are attended
// to in tiles of queries, all others one by one. A step of one sequence has long runs only.
fn in_long_run(token: u32) -> bool {
  if (step.z == 1u) {
    return true;
  }
  let sequence = sequence_ids[token];
  var run = 1u;
  for (var i = token; i > 0u && run < LONG_RUN; i--) {
    if (sequence_ids[i - 1u] != sequence) {
      break;
    }
    run++;
  }
  let end = step_tokens(token);
  for (var i = token + 1u; i < end && run < LONG_RUN; i++) {
    if (sequence_ids[i] != sequence) {
      break;
    }
    run++;
  }
  return run >= LONG_RUN;
}

// How the keys of a context are shared out: to SPLITS workgroups, LEAST_SHARE keys or a multiple each.

fn keys_of_share(context: u32) -> u32 {
  return (context + LEAST_SHARE * SPLITS - 1u) / (LEAST_SHARE * SPLITS) * LEAST_SHARE;
}

// Shares that are not empty.
fn used_splits(context: u32) -> u32 {
  let keys = keys_of_share(context);
  return (context + keys - 1u) / keys;
}

// Eight consecutive elements: the unit in which weights and activations are read.
struct Chunk { lo: vec4<f32>, hi: vec4<f32> }

fn chunk_dot(a: Chunk, b: Chunk) -> f32 {
  return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}

fn chunk_scale(a: Chunk, factor: f32) -> Chunk {
  return Chunk(a.lo * factor, a.hi * factor);
}

// Weight rows of bf16, a multiple of 8 long, bound as array<vec4<u32>>.
alias w_Word = vec4<u32>;

fn w_fetch(row: u32, word: u32) -> w_Word {
  return w[(row - w_FIRST_ROW) * (w_COLUMNS / 8u) + word];
}

fn w_unpack(word: w_Word, chunk: u32) -> Chunk {
  let even = bitcast<vec4<f32>>(word << vec4(16u));
  let odd = bitcast<vec4<f32>>(word & vec4(0xffff0000u));
  return Chunk(vec4(even.x, odd.x, even.y, odd.y), vec4(even.z, odd.z, even.w, odd.w));
}

fn w_dot(word: w_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(w_unpack(word, chunk), x);
}

// Weight rows of f16, a multiple of 8 long, bound as array<vec4<u32>>. Needs no shader-f16.
alias keys_Word = vec4<u32>;

fn keys_fetch(row: u32, word: u32) -> keys_Word {
  return keys[(row - keys_FIRST_ROW) * (keys_COLUMNS / 8u) + word];
}

fn keys_unpack(word: keys_Word, chunk: u32) -> Chunk {
  return Chunk(
    vec4(unpack2x16float(word.x), unpack2x16float(word.y)),
    vec4(unpack2x16float(word.z), unpack2x16float(word.w)),
  );
}

fn keys_dot(word: keys_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(keys_unpack(word, chunk), x);
}

// Writing a cache of f16, bound as array<vec4<u32>>; `load_f16` reads it. What f16 cannot hold
// becomes NaN by its bits: WGSL leaves open what pack2x16float makes of it, and an infinite key
// could go unseen.
fn keys_pair(x: vec2<f32>) -> u32 {
  let beyond = select(vec2(0u), vec2(0x7e00u, 0x7e000000u), abs(x) >= vec2(65520.0));
  return pack2x16float(x) | beyond.x | beyond.y;
}

fn keys_pack(value: Chunk) -> keys_Word {
  return vec4(
    keys_pair(value.lo.xy),
    keys_pair(value.lo.zw),
    keys_pair(value.hi.xy),
    keys_pair(value.hi.zw),
  );
}

fn keys_put(row: u32, chunk: u32, word: keys_Word) {
  keys[row * (keys_COLUMNS / 8u) + chunk] = word;
}

fn keys_store(row: u32, chunk: u32, value: Chunk) {
  keys_put(row, chunk, keys_pack(value));
}

// What a number is after a way through the cache: steps are 2^-10 of the power of two below it, and
// 2^-24 below 2^-14; round() goes to even. (NVIDIA's compiler takes unpack2x16float of
// pack2x16float for the number itself, so the last bits of a step's own tokens stayed.)
fn cached(value: f32) -> f32 {
  let magnitude = abs(value);
  let exponent = clamp(bitcast<u32>(magnitude) >> 23u, 113u, 250u);
  let steps = round(magnitude * bitcast<f32>((264u - exponent) << 23u));
  let rounded = sign(value) * steps * bitcast<f32>((exponent - 10u) << 23u);
  return bitcast<f32>(select(bitcast<u32>(rounded), 0x7fc00000u, magnitude >= 65520.0));
}

// Cosine and sine of any angle below 2^25, to about 1e-7. The built-in functions promise 2^-11, and
// only between -π and π; positions of a long context are far outside.
//
// The angle's mantissa times 2/π, in integers: the product's bits 30 and 31 are the quadrant, those
// below are where in it. (Floating-point reductions by parts of π/2 do not survive compilers that
// reassociate.) Then the polynomials of Cephes' sinf and cosf.
const TWO_OVER_PI_HIGH = 0xa2f9836eu;
const TWO_OVER_PI_LOW = 0x4e441529u;

fn cos_sin(angle: f32) -> vec2<f32> {
  let bits = bitcast<u32>(angle) & 0x7fffffffu;
  let mantissa = (bits & 0x7fffffu) | 0x800000u;
  // The angle is mantissa · 2^(exponent - 150); the product is wanted in units of 2^-30.
  let shift = i32(bits >> 23u) - 120i;
  let left = u32(clamp(shift, 1i, 31i));
  let right = u32(clamp(-shift, 0i, 31i));
  let whole = select(0u, TWO_OVER_PI_HIGH >> (32u - left), shift > 0i);
  let part = select(
    TWO_OVER_PI_HIGH >> right,
    (TWO_OVER_PI_HIGH << left) | (TWO_OVER_PI_LOW >> (32u - left)),
    shift > 0i,
  );
  // The upper word of mantissa · part, by halves.
  let cross = (mantissa & 0xffffu) * (part >> 16u);
  let middle = (((mantissa & 0xffffu) * (part & 0xffffu)) >> 16u) + (cross & 0xffffu) +
    (mantissa >> 16u) * (part & 0xffffu);
  let upper = (mantissa >> 16u) * (part >> 16u) + (cross >> 16u) + (middle >> 16u);
  let turned = mantissa * whole + upper;
  let near = bits < 0x3f490fdbu; // below π/4, where nothing is to be reduced
  let quadrant = select((turned + 0x20000000u) >> 30u, 0u, near);
  let rest = f32(bitcast<i32>(turned - (quadrant << 30u))) * 1.4629181e-9f;
  let r = select(rest, bitcast<f32>(bits), near);

  let s = r * r;
  let sine = r + r * s * fma(s, fma(s, -1.9515296e-4f, 8.3321609e-3f), -1.6666655e-1f);
  let cosine = 1.0 - 0.5 * s +
    s * s * fma(s, fma(s, 2.4433157e-5f, -1.3887316e-3f), 4.1666646e-2f);
  let turned_by = select(vec2(sine, cosine), vec2(cosine, sine), (quadrant & 1u) == 0u);
  return turned_by * vec2(
    select(1.0, -1.0, quadrant == 1u || quadrant == 2u),
    select(1.0, -1.0, quadrant >= 2u) * select(1.0, -1.0, angle < 0.0),
  );
}

// Element 2i turns with 2i + 1.
struct RotaryPair { other: u32, frequency: u32, sign: f32 }

fn rotary_pair(d: u32) -> RotaryPair {
  return RotaryPair(d ^ 1u, d / 2u, select(1.0, -1.0, (d & 1u) == 0u));
}

fn rotary_frequency(i: u32) -> f32 {
  return inv_freq[i];
}

// Brings the latent of a token, normed, and the key that turns into the cache.
//
// kv [T, KV_WIDTH] f32, of which the D = L + R columns from KV_FIRST on are meant; keys: rows of D

fn rotary_angle(token: u32, d: u32) -> vec2<f32> {
  let frequency = rotary_frequency(rotary_pair(d).frequency);
  return cos_sin(f32(positions[token]) * frequency) * ATTENTION_SCALING;
}

fn latent_element(token: u32, d: u32, scale: f32) -> f32 {
  let first = token * KV_WIDTH + KV_FIRST;
  if (d < L) {
    return kv[first + d] * scale * kv_norm[d];
  }
  let pair = rotary_pair(d - L);
  let angle = rotary_angle(token, d - L);
  return kv[first + d] * angle.x + kv[first + L + pair.other] * angle.y * pair.sign;
}

fn store_latent(token: u32, invocation: Invocation) {
  let row = cache_row(u32(sequence_ids[token]), u32(positions[token]), 0u);
  var square = 0.0;
  for (var first = invocation.index; first < L; first += 4u * INVOCATIONS) {
    //@repeat i 4
    let x_$i = kv[token * KV_WIDTH + KV_FIRST + min(first + $i * INVOCATIONS, L - 1u)];
    //@end
    //@repeat i 4
    square += select(0.0, x_$i * x_$i, first + $i * INVOCATIONS < L);
    //@end
  }
  sum_share(0u, square, invocation);
  sum_join(invocation);
  let scale = inverseSqrt(sum_result(0u, invocation) / f32(L) + EPS);
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

// The invocations of a workgroup, where subgroups may be used. Nothing is assumed about the size of
// subgroups but that they have 8 invocations or more.
const MAX_SUBGROUPS = max(1u, INVOCATIONS / 8u);

struct Invocation {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) in_subgroup: u32,
}

fn add(a: f32, b: f32) -> f32 {
  return a + b;
}

// Combines SUMS numbers over all invocations: every invocation puts its share of each, then
// sum_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, add the same for two numbers.
var<workgroup> sum_shares: array<f32, SUMS * MAX_SUBGROUPS>;

fn sum_share(slot: u32, value: f32, invocation: Invocation) {
  let share = subgroupAdd(value);
  if (invocation.in_subgroup == 0u) {
    sum_shares[invocation.subgroup * SUMS + slot] = share;
  }
}

fn sum_join(invocation: Invocation) {
  workgroupBarrier();
}

fn sum_result(slot: u32, invocation: Invocation) -> f32 {
  var result = sum_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = add(result, sum_shares[s * SUMS + slot]);
  }
  return result;
}

// What `plan.wgsl` has found.

// Where the first token of a sequence stands among those that are expanded.
fn first_place(sequence: u32) -> u32 {
  return plan[2u + sequence];
}

fn is_expanded(token: u32) -> bool {
  return first_place(u32(sequence_ids[token])) != NOT_EXPANDED;
}

// A query as keys of its head want it: its second part turned.
//
// turned [T, HEADS · (N + R)] f32
fn store_query(token: u32, head: u32, index: u32) {
  let at = (token * HEADS + head) * (N + R);
  for (var i = index; i < N; i += INVOCATIONS) {
    turned[at + i] = query_at(token, head, i);
  }
  for (var d = index; d < R; d += INVOCATIONS) {
    let pair = rotary_pair(d);
    let angle = rotary_angle(token, d);
    turned[at + N + d] = query_at(token, head, N + d) * angle.x +
      query_at(token, head, N + pair.other) * angle.y * pair.sign;
  }
}

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
