const keys_COLUMNS = 128u;
const keys_FIRST_ROW = 0u;
const values_COLUMNS = 128u;
const values_FIRST_ROW = 0u;
const HEADS = 32u;
const GROUP = 8u;
const D = 128u;
const KV_HEADS = 4u;
const PAGE = 16u;
const WINDOW = 0u;
const LONG_RUN = 8u;
const SCALE = 0.0883883461356163f;
const LOWEST = -3.4028234663852886e+38f;
const COMBINED = 8u;
const ROTARY = 128u;
const ATTENTION_SCALING = 1.0f;
const NORM = true;
const NORM_ALL = false;
const EPS = 9.999999974752427e-7f;
const QKV_WIDTH = 5120u;
const V_FIRST = 4608u;
const VALUE_NORM = false;
const VALUE_EPS = 0.0f;
const HG = 1u;
const HEAD_UNITS = 8u;
const UNITS = 32u;
const SPLITS = 32u;
const FRESH = true;
const FRESH_MAX = 1u;
const ONLY_SHORT_RUNS = false;
const LANES = 16u;
const STEPS = 4u;
const GROUPS = 8u;
const JOINED = 2u;
const JOINS = 1u;
const PARTIES = 4u;
const UNROLL = 2u;
const TURN = 16u;
const LEAST_SHARE = 64u;
const CHUNKS = 1u;
const SQUARES = 2u;
const ROUNDS_Q = 8u;
const ROUNDS_K = 1u;
const INVOCATIONS = 128u;
const TICKET = true;

@group(0) @binding(0) var<storage, read_write> keys: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> values: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> positions: array<i32>;
@group(0) @binding(3) var<storage, read> sequence_ids: array<i32>;
@group(0) @binding(4) var<storage, read> block_table: array<i32>;
@group(0) @binding(5) var<uniform> step: vec4<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> partials: array<atomic<u32>>;
@group(0) @binding(8) var<storage, read_write> tickets: array<atomic<u32>>;
@group(0) @binding(9) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read> inv_freq: array<f32>;
@group(0) @binding(11) var<storage, read> q_norm: array<vec4<f32>>;
@group(0) @binding(12) var<storage, read> k_norm: array<vec4<f32>>;

// Eight consecutive elements: the unit in which weights and activations are read.
struct Chunk { lo: vec4<f32>, hi: vec4<f32> }

fn chunk_dot(a: Chunk, b: Chunk) -> f32 {
  return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}

fn chunk_scale(a: Chunk, factor: f32) -> Chunk {
  return Chunk(a.lo * factor, a.hi * factor);
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

// Weight rows of f16, a multiple of 8 long, bound as array<vec4<u32>>. Needs no shader-f16.
alias values_Word = vec4<u32>;

fn values_fetch(row: u32, word: u32) -> values_Word {
  return values[(row - values_FIRST_ROW) * (values_COLUMNS / 8u) + word];
}

fn values_unpack(word: values_Word, chunk: u32) -> Chunk {
  return Chunk(
    vec4(unpack2x16float(word.x), unpack2x16float(word.y)),
    vec4(unpack2x16float(word.z), unpack2x16float(word.w)),
  );
}

fn values_dot(word: values_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(values_unpack(word, chunk), x);
}

// Writing a cache of f16, bound as array<vec4<u32>>; `load_f16` reads it. What f16 cannot hold
// becomes NaN by its bits: WGSL leaves open what pack2x16float makes of it, and an infinite key
// could go unseen.
fn values_pair(x: vec2<f32>) -> u32 {
  let beyond = select(vec2(0u), vec2(0x7e00u, 0x7e000000u), abs(x) >= vec2(65520.0));
  return pack2x16float(x) | beyond.x | beyond.y;
}

fn values_pack(value: Chunk) -> values_Word {
  return vec4(
    values_pair(value.lo.xy),
    values_pair(value.lo.zw),
    values_pair(value.hi.xy),
    values_pair(value.hi.zw),
  );
}

fn values_put(row: u32, chunk: u32, word: values_Word) {
  values[row * (values_COLUMNS / 8u) + chunk] = word;
}

fn values_store(row: u32, chunk: u32, value: Chunk) {
  values_put(row, chunk, values_pack(value));
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

fn sink_at(i: u32) -> f32 {
  return -3.4028234663852886e+38f;
}

// Where results go. partials holds, for each (token, unit, split), HG rows of D sums, then HG
// peaks, then HG totals: all relative to the split's own peak.
const PARTIAL = HG * (D + 2u);

fn partial_at(token: u32, unit: u32, split: u32) -> u32 {
  return ((token * UNITS + unit) * SPLITS + split) * PARTIAL;
}

// What sums of a head are multiplied with: out = Σ weights · values / (Σ weights + sink), where the
// weights are relative to `peak`.
fn gain_of(head: u32, peak: f32, total: f32) -> f32 {
  let sink = sink_at(head);
  let top = max(peak, sink);
  let factor = exp(peak - top);
  return factor / (total * factor + exp(sink - top));
}

// Head of a unit's head.
fn head_of(unit: u32, h: u32) -> u32 {
  return (unit / HEAD_UNITS) * GROUP + (unit % HEAD_UNITS) * HG + h;
}

fn store_result(token: u32, unit: u32, e: u32, sum: f32, peak: f32, total: f32) {
  let head = head_of(unit, e / D);
  y[(token * HEADS + head) * D + e % D] = sum * gain_of(head, peak, total);
}

// Combines what the splits of one token and one unit found, in order: each left its own result, and
// the logarithm of what its softmax adds up to. COMBINED splits are loaded at a time.
fn combine(token: u32, unit: u32, splits: u32, index: u32) {
  let base = partial_at(token, unit, 0u);
  for (var e = index; e < HG * D; e += INVOCATIONS) {
    let head = head_of(unit, e / D);
    var peak = sink_at(head);
    var total = 1.0;
    var sum = 0.0;
    for (var s = 0u; s < splits; s += COMBINED) {
      //@repeat u COMBINED
      let at_$u = base + min(s + $u, splits - 1u) * PARTIAL;
      let value_$u = load_partial(at_$u + e);
      let weight_$u = load_partial(at_$u + HG * D + e / D);
      //@end
      var top = peak;
      //@repeat u COMBINED
      top = max(top, weight_$u);
      //@end
      let before = exp(peak - top);
      peak = top;
      total *= before;
      sum *= before;
      //@repeat u COMBINED
      {
        let factor = select(0.0, exp(weight_$u - top), s + $u < splits);
        total += factor;
        sum += factor * value_$u;
      }
      //@end
    }
    y[(token * HEADS + head) * D + e % D] = sum / total;
  }
}

// Partial results that the last workgroup to arrive combines. Workgroups see each other's writes
// only through atomics. The one that draws the last ticket puts the count back to zero.
fn store_partial(at: u32, value: f32) {
  atomicStore(&partials[at], bitcast<u32>(value));
}

fn load_partial(at: u32) -> f32 {
  return bitcast<f32>(atomicLoad(&partials[at]));
}

fn take_ticket(i: u32, count: u32) -> u32 {
  let before = atomicAdd(&tickets[i], 1u);
  if (before + 1u == count) {
    atomicStore(&tickets[i], 0u);
  }
  return before;
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

// Rotate-half: element i turns with i + ROTARY / 2.
struct RotaryPair { other: u32, frequency: u32, sign: f32 }

fn rotary_pair(d: u32) -> RotaryPair {
  if (d < ROTARY / 2u) {
    return RotaryPair(d + ROTARY / 2u, d, -1.0);
  }
  return RotaryPair(d - ROTARY / 2u, d - ROTARY / 2u, 1.0);
}

fn rotary_frequency(i: u32) -> f32 {
  return inv_freq[i];
}

// Weights of a norm of one head, which all heads share; quads are counted from the start of the weights.
fn q_norm_at(head: u32, d: u32) -> f32 {
  return q_norm[d / 4u][d % 4u];
}

fn q_norm_quad(quad: u32) -> vec4<f32> {
  return q_norm[quad];
}

// Weights of a norm of one head, which all heads share; quads are counted from the start of the weights.
fn k_norm_at(head: u32, d: u32) -> f32 {
  return k_norm[d / 4u][d % 4u];
}

fn k_norm_quad(quad: u32) -> vec4<f32> {
  return k_norm[quad];
}

// q, k and v side by side in one buffer [T, QKV_WIDTH]; v may be k. Numbers are counted from the start of
// a token's q, k or v, quads are four of them.

fn qkv_at(i: u32) -> f32 {
  return qkv[i / 4u][i % 4u];
}

fn q_raw(token: u32, i: u32) -> f32 {
  return qkv_at(token * QKV_WIDTH + i);
}

fn k_raw(token: u32, i: u32) -> f32 {
  return qkv_at(token * QKV_WIDTH + HEADS * D + i);
}

fn v_raw(token: u32, i: u32) -> f32 {
  return qkv_at(token * QKV_WIDTH + V_FIRST + i);
}

fn q_quad(token: u32, quad: u32) -> vec4<f32> {
  return qkv[token * (QKV_WIDTH / 4u) + quad];
}

fn k_quad(token: u32, quad: u32) -> vec4<f32> {
  return qkv[token * (QKV_WIDTH / 4u) + HEADS * (D / 4u) + quad];
}

// A quad of q, or of k with `is_key`.
fn qk_quad(token: u32, quad: u32, is_key: bool) -> vec4<f32> {
  return qkv[token * (QKV_WIDTH / 4u) + quad + select(0u, HEADS * (D / 4u), is_key)];
}

fn v_quad(token: u32, quad: u32) -> vec4<f32> {
  return qkv[token * (QKV_WIDTH / 4u) + V_FIRST / 4u + quad];
}

fn clipped(x: f32) -> f32 {
  return x;
}

// Elements of a query or key head as the cache and the scores want them: norm, clip, RoPE, in this
// order. `scale` is 1/rms where there is a norm and 1 otherwise. q is q or k.

// What an element needs whatever the token, so that it can be loaded before `scale` is known:
// weights of the norm, and the element that it turns with, by `frequency` a position.
struct q_Rotation { norm: f32, other: u32, other_norm: f32, frequency: f32, sign: f32 }

fn q_rotation(head: u32, d: u32) -> q_Rotation {
  let norm = q_norm_at(head, d);
  if (d >= ROTARY) {
    return q_Rotation(norm, d, norm, 0.0, 0.0);
  }
  let pair = rotary_pair(d);
  return q_Rotation(
    norm, pair.other, q_norm_at(head, pair.other), rotary_frequency(pair.frequency), pair.sign,
  );
}

fn q_element_at(token: u32, head: u32, d: u32, rotation: q_Rotation, scale: f32) -> f32 {
  let x = clipped(q_raw(token, head * D + d) * scale * rotation.norm);
  if (d >= ROTARY) {
    return x;
  }
  let other = clipped(q_raw(token, head * D + rotation.other) * scale * rotation.other_norm);
  let angle = cos_sin(f32(positions[token]) * rotation.frequency) * ATTENTION_SCALING;
  return x * angle.x + other * angle.y * rotation.sign;
}

fn q_element(token: u32, head: u32, d: u32, scale: f32) -> f32 {
  return q_element_at(token, head, d, q_rotation(head, d), scale);
}

// Elements of a query or key head as the cache and the scores want them: norm, clip, RoPE, in this
// order. `scale` is 1/rms where there is a norm and 1 otherwise. k is q or k.

// What an element needs whatever the token, so that it can be loaded before `scale` is known:
// weights of the norm, and the element that it turns with, by `frequency` a position.
struct k_Rotation { norm: f32, other: u32, other_norm: f32, frequency: f32, sign: f32 }

fn k_rotation(head: u32, d: u32) -> k_Rotation {
  let norm = k_norm_at(head, d);
  if (d >= ROTARY) {
    return k_Rotation(norm, d, norm, 0.0, 0.0);
  }
  let pair = rotary_pair(d);
  return k_Rotation(
    norm, pair.other, k_norm_at(head, pair.other), rotary_frequency(pair.frequency), pair.sign,
  );
}

fn k_element_at(token: u32, head: u32, d: u32, rotation: k_Rotation, scale: f32) -> f32 {
  let x = clipped(k_raw(token, head * D + d) * scale * rotation.norm);
  if (d >= ROTARY) {
    return x;
  }
  let other = clipped(k_raw(token, head * D + rotation.other) * scale * rotation.other_norm);
  let angle = cos_sin(f32(positions[token]) * rotation.frequency) * ATTENTION_SCALING;
  return x * angle.x + other * angle.y * rotation.sign;
}

fn k_element(token: u32, head: u32, d: u32, scale: f32) -> f32 {
  return k_element_at(token, head, d, k_rotation(head, d), scale);
}

// How keys and values of a turn come from the cache to the lanes of decode_lanes.wgsl.

struct Fetched {
  //@repeat u UNROLL
  //@repeat c CHUNKS
  key_$u_$c: keys_Word,
  value_$u_$c: values_Word,
  //@end
  //@end
}

// Asks for the positions at, at + GROUPS, … that a group of lanes takes, all pages first.
fn fetch_turn(sequence: u32, at: u32, end: u32, kv_head: u32, lane: u32) -> Fetched {
  //@repeat u UNROLL
  let row_$u = cache_row(sequence, min(at + $u * GROUPS, end - 1u), kv_head);
  //@end
  var fetched: Fetched;
  //@repeat u UNROLL
  //@repeat c CHUNKS
  fetched.key_$u_$c = keys_fetch(row_$u, min(lane + $c * LANES, D / 8u - 1u));
  //@end
  //@end
  //@repeat u UNROLL
  //@repeat c CHUNKS
  fetched.value_$u_$c = values_fetch(row_$u, min(lane + $c * LANES, D / 8u - 1u));
  //@end
  //@end
  return fetched;
}

// Sums and maxima over lanes, by butterflies of shuffles in a fixed order. STEPS is log2 LANES, JOINS
// log2 of the groups of lanes that meet.

// Sums over the LANES neighbours that share a key, the same in all of them.
fn lane_total(value: f32) -> f32 {
  var sum = value;
  //@repeat s STEPS
  sum += subgroupShuffleXor(sum, 1u << u32($s));
  //@end
  return sum;
}

// Sums, and the largest, of the same lane of JOINED neighbouring groups.
fn joined_sum(value: vec4<f32>) -> vec4<f32> {
  var sum = value;
  //@repeat s JOINS
  sum += subgroupShuffleXor(sum, LANES << u32($s));
  //@end
  return sum;
}

fn joined_max(value: f32) -> f32 {
  var top = value;
  //@repeat s JOINS
  top = max(top, subgroupShuffleXor(top, LANES << u32($s)));
  //@end
  return top;
}

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

// Rotate-half of a chunk in registers: element i turns with i + ROTARY / 2, which another lane has.
const REACH = ROTARY / 16u;

fn turned(x: Chunk, lane: u32, invocation: Invocation) -> Chunk {
  let is_low = lane < REACH;
  let partner = invocation.in_subgroup - lane + select(lane - REACH, lane + REACH, is_low);
  let lo = subgroupShuffle(x.lo, partner);
  let hi = subgroupShuffle(x.hi, partner);
  if (lane >= 2u * REACH) {
    return x;
  }
  let at = 2u * select(lane - REACH, lane, is_low);
  let sign = select(1.0, -1.0, is_low);
  return Chunk(
    x.lo * cosines[at] + lo * sines[at] * sign,
    x.hi * cosines[at + 1u] + hi * sines[at + 1u] * sign,
  );
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

// Combines SQUARES numbers over all invocations: every invocation puts its share of each, then
// square_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, add the same for two numbers.
var<workgroup> square_shares: array<f32, SQUARES * MAX_SUBGROUPS>;

fn square_share(slot: u32, value: f32, invocation: Invocation) {
  let share = subgroupAdd(value);
  if (invocation.in_subgroup == 0u) {
    square_shares[invocation.subgroup * SQUARES + slot] = share;
  }
}

fn square_join(invocation: Invocation) {
  workgroupBarrier();
}

fn square_result(slot: u32, invocation: Invocation) -> f32 {
  var result = square_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = add(result, square_shares[s * SQUARES + slot]);
  }
  return result;
}

// How the context of one token is divided among workgroups, from the token's position alone.
//
// Context in the cache: positions first..end - 1, in `splits` shares of `share` positions. With
// FRESH the step's own tokens are not in the cache yet, or must not be read from it: `end` is the
// smallest position that the step has of this sequence, and the last split takes the rest, the
// `run` tokens that end with this one, from the step itself. Tokens of a sequence stand side by
// side in a step, with consecutive positions. A workgroup takes TURN positions at a time, and
// LEAST_SHARE at least.
struct Span {
  sequence: u32, position: u32, first: u32, end: u32, share: u32, splits: u32, run: u32,
}

fn span_of(token: u32) -> Span {
  let sequence = sequence_ids[token];
  let position = u32(positions[token]);
  var run = select(0u, 1u, FRESH);
  for (var back = 1u; FRESH && back < FRESH_MAX && back <= token; back++) {
    if (sequence_ids[token - back] != sequence) {
      break;
    }
    run++;
  }
  let end = position + 1u - run;
  let seen = first_seen(position);
  let first = min(seen, end);
  let even = (end - first + SPLITS - 1u) / SPLITS;
  let share = max(LEAST_SHARE, (even + TURN - 1u) / TURN * TURN);
  let splits = max(1u, (end - first + share - 1u) / share);
  return Span(u32(sequence), position, first, end, share, splits, min(run, position + 1u - seen));
}

// Attention of single tokens, each the only one of its sequence, over the paged cache. As
// decode_lanes.wgsl, with less text and fewer barriers: a kernel that has not run for a while comes
// from memory, as its data do.
//
// y [T, HEADS · D] f32
// Grid: split, unit (a key head, or a part of the query heads that share it), token.
//
// LANES neighbours have a chunk each of a head. The first HG + 2 groups of lanes make the unit's
// queries and the token's own key and value; the last split stores these, and begins its softmax
// with them, so that they need no turn of their own.
var<workgroup> queries: array<vec4<f32>, HG * D / 4u>;
var<workgroup> own_keys: array<keys_Word, D / 8u>;
var<workgroup> own_values: array<values_Word, D / 8u>;
var<workgroup> cosines: array<vec4<f32>, max(1u, ROTARY / 8u)>;
var<workgroup> sines: array<vec4<f32>, max(1u, ROTARY / 8u)>;
var<workgroup> sums: array<vec4<f32>, PARTIES * HG * D / 4u>;
var<workgroup> peaks: array<f32, HG * PARTIES>;
var<workgroup> totals: array<f32, HG * PARTIES>;
var<workgroup> arrived: u32;

// Less than any score, and so much more than LOWEST that a masked score weighs nothing beside it.
const NO_PEAK = -1e30;

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.z;
  let unit = group.y;
  let split = group.x;
  let index = invocation.index;
  let lane = index % LANES;
  let row = index / LANES;
  let kv_head = unit / HEAD_UNITS;
  let is_value = row == HG + 1u;
  let is_key = row == HG;
  let chunk = min(lane, D / 8u - 1u);
  let head = select(kv_head * GROUP + (unit % HEAD_UNITS) * HG + min(row, HG - 1u), kv_head, row >= HG);
  let raw = raw_chunk(token, head * (D / 4u) + 2u * chunk, is_key, is_value);
  let norm = norm_of(select(0u, head * (D / 4u), NORM_ALL) + 2u * chunk, is_key, is_value);
  let frequency = rotary_frequency(min(index, max(ROTARY / 2u, 1u) - 1u));
  let span = span_of(token);
  if (split >= span.splits) {
    return;
  }
  let own = split + 1u == span.splits;
  let first = span.first + split * span.share;
  let end = max(first, min(first + span.share, span.end));
  let turns = (end - first + TURN - 1u) / TURN;
  var next: Fetched;
  if (turns > 0u) {
    next = fetch_turn(span.sequence, first + row, end, kv_head, lane);
  }
  if (index < ROTARY / 2u) {
    let angle = cos_sin(f32(span.position) * frequency) * ATTENTION_SCALING;
    cosines[index / 4u][index % 4u] = angle.x;
    sines[index / 4u][index % 4u] = angle.y;
  }
  if (NORM && NORM_ALL) {
    sum_squares(token, invocation);
  } else {
    workgroupBarrier();
  }
  var scale = 1.0;
  if (NORM_ALL) {
    let sum = square_result(select(0u, 1u, is_key), invocation);
    scale = inverseSqrt(sum / f32(select(QUADS_Q, QUADS_K, is_key) * 4u) + EPS);
  } else if (NORM) {
    let square = select(0.0, chunk_dot(raw, raw), lane < D / 8u);
    scale = inverseSqrt(lane_total(square) / f32(D) + EPS);
  }
  scale = select(scale, 1.0, is_value);
  let x = Chunk(clipped_quad(raw.lo * scale * norm.lo), clipped_quad(raw.hi * scale * norm.hi));
  let by_angle = turned(x, lane, invocation);
  let stores = own && unit % HEAD_UNITS == 0u;
  if (row < HG && lane < D / 8u) {
    queries[row * (D / 4u) + 2u * lane] = by_angle.lo * SCALE;
    queries[row * (D / 4u) + 2u * lane + 1u] = by_angle.hi * SCALE;
  } else if (own && is_key && lane < D / 8u) {
    let word = keys_pack(by_angle);
    own_keys[lane] = word;
    if (stores) {
      keys_put(cache_row(span.sequence, span.position, kv_head), lane, word);
    }
  } else if (own && is_value && lane < D / 8u) {
    let word = values_pack(x);
    own_values[lane] = word;
    if (stores) {
      values_put(cache_row(span.sequence, span.position, kv_head), lane, word);
    }
  }
  workgroupBarrier();

  // The first group of the last split begins with the token's own key and value.
  let mine = own && row == 0u;
  let own_key = keys_unpack(own_keys[chunk], 0u);
  let own_value = values_unpack(own_values[chunk], 0u);
  //@repeat h HG
  let query_$h = query_chunk($h, lane);
  var peak_$h = select(NO_PEAK, lane_total(chunk_dot(own_key, query_$h)), mine);
  var total_$h = select(0.0, 1.0, mine);
  var lo_$h = select(vec4<f32>(), own_value.lo, mine);
  var hi_$h = select(vec4<f32>(), own_value.hi, mine);
  //@end

  for (var turn = 0u; turn < turns; turn++) {
    let at = first + turn * TURN + row;
    let now = next;
    if (turn + 1u < turns) {
      next = fetch_turn(span.sequence, at + TURN, end, kv_head, lane);
    }
    //@repeat u UNROLL
    //@repeat h HG
    var score_$u_$h = LOWEST;
    //@end
    {
      let key = keys_unpack(now.key_$u_0, 0u);
      //@repeat h HG
      score_$u_$h = select(LOWEST, lane_total(chunk_dot(key, query_$h)), at + $u * GROUPS < end);
      //@end
    }
    //@end
    //@repeat h HG
    {
      var top = peak_$h;
      //@repeat u UNROLL
      top = max(top, score_$u_$h);
      //@end
      let factor = exp(peak_$h - top);
      peak_$h = top;
      total_$h *= factor;
      lo_$h *= factor;
      hi_$h *= factor;
      //@repeat u UNROLL
      score_$u_$h = exp(score_$u_$h - top);
      total_$h += score_$u_$h;
      //@end
    }
    //@end
    //@repeat u UNROLL
    {
      let value = values_unpack(now.value_$u_0, 0u);
      //@repeat h HG
      lo_$h += score_$u_$h * value.lo;
      hi_$h += score_$u_$h * value.hi;
      //@end
    }
    //@end
  }

  //@repeat h HG
  {
    let peak = joined_max(peak_$h);
    let factor = exp(peak_$h - peak);
    let total = joined_sum(vec4(total_$h * factor)).x;
    let lo = joined_sum(lo_$h * factor);
    let hi = joined_sum(hi_$h * factor);
    if (row % JOINED == 0u) {
      let party = row / JOINED;
      if (lane < D / 8u) {
        let at = (party * HG + $h) * (D / 4u) + 2u * lane;
        sums[at] = lo;
        sums[at + 1u] = hi;
      }
      if (lane == 0u) {
        peaks[$h * PARTIES + party] = peak;
        totals[$h * PARTIES + party] = total;
      }
    }
  }
  //@end
  workgroupBarrier();
  let base = partial_at(token, unit, split);
  for (var e = index; e < HG * D; e += INVOCATIONS) {
    let h = e / D;
    var peak = NO_PEAK;
    //@repeat p PARTIES
    let peak_$p = peaks[h * PARTIES + $p];
    peak = max(peak, peak_$p);
    //@end
    var total = 0.0;
    var sum = 0.0;
    //@repeat p PARTIES
    {
      let factor = exp(peak_$p - peak);
      total += factor * totals[h * PARTIES + $p];
      sum += factor * sums[$p * (HG * D / 4u) + e / 4u][e % 4u];
    }
    //@end
    if (span.splits == 1u) {
      let result_head = head_of(unit, h);
      y[(token * HEADS + result_head) * D + e % D] = sum * gain_of(result_head, peak, total);
    } else {
      store_partial(base + e, sum / total);
      if (e % D == 0u) {
        store_partial(base + HG * D + h, peak + log(total));
      }
    }
  }
  if (!TICKET || span.splits == 1u) {
    return;
  }
  storageBarrier();
  if (index == 0u) {
    arrived = take_ticket(token * UNITS + unit, span.splits);
  }
  if (workgroupUniformLoad(&arrived) + 1u == span.splits) {
    storageBarrier();
    combine(token, unit, span.splits, index);
  }
}

// A chunk of a query, zero behind the end of a head.
fn query_chunk(h: u32, lane: u32) -> Chunk {
  if (lane >= D / 8u) {
    return Chunk(vec4<f32>(), vec4<f32>());
  }
  let at = h * (D / 4u) + 2u * lane;
  return Chunk(queries[at], queries[at + 1u]);
}
