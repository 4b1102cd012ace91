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
const SLOTS = 9u;
const SLOT_ROUNDS = 2u;
const OWN_ROUNDS = 1u;
const VALUE_ROUNDS = 8u;
const ROUNDS_Q = 8u;
const ROUNDS_K = 1u;
const SQUARES = 9u;
const HG = 1u;
const HEAD_UNITS = 8u;
const UNITS = 32u;
const SPLITS = 32u;
const FRESH = true;
const FRESH_MAX = 8u;
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
const AHEAD = false;
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

// Combines what the splits of one token and one unit found, in order: first the weight of every
// split in workgroup memory, then each invocation its numbers. Little text, because a kernel that
// has not run for a while comes from memory too. COMBINED splits are loaded at a time.
var<workgroup> split_peaks: array<f32, HG * SPLITS>;
var<workgroup> split_totals: array<f32, HG * SPLITS>;

fn combine(token: u32, unit: u32, splits: u32, index: u32) {
  let base = partial_at(token, unit, 0u);
  for (var i = index; i < HG * splits; i += INVOCATIONS) {
    let at = base + (i % splits) * PARTIAL + HG * D + i / splits;
    split_peaks[i] = load_partial(at);
    split_totals[i] = load_partial(at + HG);
  }
  workgroupBarrier();
  for (var e = index; e < HG * D; e += INVOCATIONS) {
    let h = e / D;
    var peak = LOWEST;
    for (var s = 0u; s < splits; s++) {
      peak = max(peak, split_peaks[h * splits + s]);
    }
    var total = 0.0;
    var sum = 0.0;
    for (var s = 0u; s < splits; s += COMBINED) {
      //@repeat u COMBINED
      let value_$u = load_partial(base + min(s + $u, splits - 1u) * PARTIAL + e);
      //@end
      //@repeat u COMBINED
      if (s + $u < splits) {
        let factor = exp(split_peaks[h * splits + s + $u] - peak);
        total += factor * split_totals[h * splits + s + $u];
        sum += factor * value_$u;
      }
      //@end
    }
    store_result(token, unit, e, sum, peak, total);
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

// What a workgroup of decode_lanes.wgsl needs before it looks at the cache, made from the step's q,
// k and v: queries of the unit, and with `own` the keys and values of the step's own tokens as far
// as this one sees them, in workgroup memory; its own ones in the cache as well. Returns their
// number.
//
// A slot is a head of one of them: HG queries, then keys. LANES invocations bring a slot from
// memory, normed; then every invocation turns single elements by the angle of their position.
//
// SLOT_ROUNDS are the slots of a group of lanes, OWN_ROUNDS its values' heads, VALUE_ROUNDS the elements
// of values of an invocation, ROUNDS_Q and ROUNDS_K the quads of a sum over all heads.
var<workgroup> slot_rows: array<vec4<f32>, SLOTS * D / 4u>;

const QUADS_Q = HEADS * D / 4u;
const QUADS_K = KV_HEADS * D / 4u;

fn angle_at(position: u32, d: u32) -> vec2<f32> {
  let frequency = rotary_frequency(rotary_pair(min(d, max(ROTARY, 1u) - 1u)).frequency);
  return cos_sin(f32(position) * frequency) * ATTENTION_SCALING;
}

fn prepare(token: u32, unit: u32, span: Span, own: bool, invocation: Invocation) -> u32 {
  let kv_head = unit / HEAD_UNITS;
  let first_head = kv_head * GROUP + (unit % HEAD_UNITS) * HG;
  let count = select(0u, span.run, own);
  // The first of the step's own tokens that this one sees.
  let first_own = token + 1u - max(count, 1u);
  let lane = invocation.index % LANES;
  let angle = angle_at(span.position, invocation.index % D);
  //@repeat n VALUE_ROUNDS
  let value_$n = min(invocation.index + $n * INVOCATIONS, max(count, 1u) * D - 1u);
  let raw_value_$n = v_raw(first_own + value_$n / D, kv_head * D + value_$n % D);
  //@end
  if (NORM && NORM_ALL) {
    sum_squares(token, first_own, count, invocation);
  }
  //@repeat r SLOT_ROUNDS
  {
    let slot = invocation.index / LANES + $r * GROUPS;
    let is_key = slot >= HG;
    let source = select(token, first_own + min(slot - HG, max(count, 1u) - 1u), is_key);
    let head = select(first_head + min(slot, HG - 1u), kv_head, is_key);
    var square = 0.0;
    //@repeat c CHUNKS
    let chunk_$c = min(lane + $c * LANES, D / 8u - 1u);
    let x_$c = slot_chunk(source, head, chunk_$c, is_key);
    square += select(0.0, chunk_dot(x_$c, x_$c), lane + $c * LANES < D / 8u);
    //@end
    var scale = 1.0;
    if (NORM && !NORM_ALL) {
      scale = inverseSqrt(lane_total(square) / f32(D) + EPS);
    }
    if (NORM && NORM_ALL) {
      let heads = select(HEADS, KV_HEADS, is_key);
      let sum = square_result(select(0u, min(1u + slot - HG, FRESH_MAX), is_key), invocation);
      scale = inverseSqrt(sum / f32(heads * D) + EPS);
    }
    //@repeat c CHUNKS
    if (slot < HG + count && lane + $c * LANES < D / 8u) {
      let n = slot_norm(head, chunk_$c, is_key);
      let at = slot * (D / 4u) + 2u * chunk_$c;
      slot_rows[at] = clipped_quad(x_$c.lo * scale * n.lo);
      slot_rows[at + 1u] = clipped_quad(x_$c.hi * scale * n.hi);
    }
    //@end
  }
  //@end
  //@repeat n VALUE_ROUNDS
  if (invocation.index + $n * INVOCATIONS < count * D) {
    fresh_values[value_$n / 4u][value_$n % 4u] =
      select(cached(clipped(raw_value_$n)), raw_value_$n, VALUE_NORM);
  }
  //@end
  workgroupBarrier();
  if (VALUE_NORM) {
    norm_values(count, invocation);
  }
  for (var e = invocation.index; e < (HG + count) * D; e += INVOCATIONS) {
    let slot = e / D;
    let d = e % D;
    var x = slot_rows[e / 4u][e % 4u];
    if (d < ROTARY) {
      let position = span.position - select(0u, HG + count - 1u - slot, slot >= HG);
      var by = angle;
      if (INVOCATIONS % D != 0u || (FRESH_MAX > 1u && position != span.position)) {
        by = angle_at(position, d);
      }
      let pair = rotary_pair(d);
      let other = slot * D + pair.other;
      x = x * by.x + slot_rows[other / 4u][other % 4u] * by.y * pair.sign;
    }
    if (slot < HG) {
      queries[e / 4u][e % 4u] = x * SCALE;
    } else {
      let at = e - HG * D;
      fresh_keys[at / 4u][at % 4u] = cached(x);
    }
  }
  workgroupBarrier();
  if (own && unit % HEAD_UNITS == 0u) {
    let row = cache_row(span.sequence, span.position, kv_head);
    let at = (count - 1u) * (D / 4u);
    for (var c = invocation.index; c < D / 8u; c += INVOCATIONS) {
      keys_store(row, c, Chunk(fresh_keys[at + 2u * c], fresh_keys[at + 2u * c + 1u]));
      values_store(row, c, Chunk(fresh_values[at + 2u * c], fresh_values[at + 2u * c + 1u]));
    }
  }
  return count;
}

// Norms the values, each head by LANES invocations.
fn norm_values(count: u32, invocation: Invocation) {
  //@repeat r OWN_ROUNDS
  {
    let slot = invocation.index / LANES + $r * GROUPS;
    let end = select(0u, D / 4u, slot < count);
    var square = 0.0;
    for (var quad = invocation.index % LANES; quad < end; quad += LANES) {
      let x = fresh_values[slot * (D / 4u) + quad];
      square += dot(x, x);
    }
    let scale = inverseSqrt(lane_total(square) / f32(D) + VALUE_EPS);
    for (var quad = invocation.index % LANES; quad < end; quad += LANES) {
      let at = slot * (D / 4u) + quad;
      let x = clipped_quad(fresh_values[at] * scale);
      fresh_values[at] = vec4(cached(x.x), cached(x.y), cached(x.z), cached(x.w));
    }
  }
  //@end
}

// Σ x² over all heads: of the token's q in slot 0, then of the k of each of the step's own tokens.
fn sum_squares(token: u32, first_own: u32, count: u32, invocation: Invocation) {
  var sum = 0.0;
  //@repeat n ROUNDS_Q
  let q_$n = q_quad(token, min(invocation.index + $n * INVOCATIONS, QUADS_Q - 1u));
  //@end
  for (var i = 0u; i < count; i++) {
    sum = 0.0;
    //@repeat n ROUNDS_K
    {
      let quad = invocation.index + $n * INVOCATIONS;
      let x = k_quad(first_own + i, min(quad, QUADS_K - 1u));
      sum += select(0.0, dot(x, x), quad < QUADS_K);
    }
    //@end
    square_share(1u + i, sum, invocation);
  }
  sum = 0.0;
  //@repeat n ROUNDS_Q
  sum += select(0.0, dot(q_$n, q_$n), invocation.index + $n * INVOCATIONS < QUADS_Q);
  //@end
  square_share(0u, sum, invocation);
  square_join(invocation);
}

fn slot_chunk(token: u32, head: u32, chunk: u32, is_key: bool) -> Chunk {
  let quad = head * (D / 4u) + 2u * chunk;
  return Chunk(qk_quad(token, quad, is_key), qk_quad(token, quad + 1u, is_key));
}

fn slot_norm(head: u32, chunk: u32, is_key: bool) -> Chunk {
  let quad = select(0u, head * (D / 4u), NORM_ALL) + 2u * chunk;
  if (is_key) {
    return Chunk(k_norm_quad(quad), k_norm_quad(quad + 1u));
  }
  return Chunk(q_norm_quad(quad), q_norm_quad(quad + 1u));
}

fn clipped_quad(x: vec4<f32>) -> vec4<f32> {
  return vec4(clipped(x.x), clipped(x.y), clipped(x.z), clipped(x.w));
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

// Attention of single tokens over the paged cache, LANES invocations of a subgroup to a key.
//
// y [T, HEADS · D] f32
// Grid: split, unit (a key head, or a part of the query heads that share it), token.
//
// LANES neighbours hold the queries of the unit's HG heads in registers, CHUNKS chunks each, and
// take UNROLL keys and values a turn. Scores are summed by shuffles, so that nothing passes through
// workgroup memory and nobody waits for a barrier until the context is read. Every group of lanes
// has a softmax of its own; JOINED of them meet by shuffles at the end, and the rest once in
// workgroup memory. Keys and values of the first turn are on their way while the queries are made.
//
// With FRESH the step's own tokens are brought into the cache here as well: nobody reads them from
// there in this step (see share_turns.wgsl), so one dispatch is enough. With TICKET the last split
// to arrive combines all of them; otherwise `attention_combine` does.
//
// STEPS is log2 LANES, GROUPS INVOCATIONS / LANES, JOINS log2 JOINED, PARTIES GROUPS / JOINED, TURN
// GROUPS · UNROLL. AHEAD asks for the next turn before this one is computed.

var<workgroup> queries: array<vec4<f32>, HG * D / 4u>;
var<workgroup> fresh_keys: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> fresh_values: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> sums: array<vec4<f32>, PARTIES * HG * D / 4u>;
var<workgroup> peaks: array<f32, HG * PARTIES>;
var<workgroup> totals: array<f32, HG * PARTIES>;
var<workgroup> arrived: u32;

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.z;
  let unit = group.y;
  let split = group.x;
  if (ONLY_SHORT_RUNS && in_long_run(token)) {
    return;
  }
  let span = span_of(token);
  if (split >= span.splits) {
    return;
  }
  let index = invocation.index;
  let lane = index % LANES;
  let row = index / LANES;
  let kv_head = unit / HEAD_UNITS;
  let first = span.first + split * span.share;
  let end = max(first, min(first + span.share, span.end));
  let turns = (end - first + TURN - 1u) / TURN;
  var next: Fetched;
  if (turns > 0u) {
    next = fetch_turn(span.sequence, first + row, end, kv_head, lane);
  }
  let fresh_count = prepare(token, unit, span, FRESH && split + 1u == span.splits, invocation);

  //@repeat h HG
  var peak_$h = LOWEST;
  var total_$h = 0.0;
  //@repeat c CHUNKS
  let query_$h_$c = query_chunk($h, lane + $c * LANES);
  var lo_$h_$c = vec4<f32>();
  var hi_$h_$c = vec4<f32>();
  //@end
  //@end

  for (var turn = 0u; turn < turns; turn++) {
    let at = first + turn * TURN + row;
    let now = next;
    if (AHEAD && turn + 1u < turns) {
      next = fetch_turn(span.sequence, at + TURN, end, kv_head, lane);
    }
    //@repeat u UNROLL
    //@repeat h HG
    var score_$h_$u = 0.0;
    //@end
    //@repeat c CHUNKS
    {
      let key = keys_unpack(now.key_$u_$c, 0u);
      //@repeat h HG
      score_$h_$u += chunk_dot(key, query_$h_$c);
      //@end
    }
    //@end
    //@repeat h HG
    score_$h_$u = select(LOWEST, lane_total(score_$h_$u), at + $u * GROUPS < end);
    //@end
    //@end
    //@repeat h HG
    {
      var top = peak_$h;
      //@repeat u UNROLL
      top = max(top, score_$h_$u);
      //@end
      let factor = exp(peak_$h - top);
      peak_$h = top;
      total_$h *= factor;
      //@repeat c CHUNKS
      lo_$h_$c *= factor;
      hi_$h_$c *= factor;
      //@end
      //@repeat u UNROLL
      score_$h_$u = select(0.0, exp(score_$h_$u - top), at + $u * GROUPS < end);
      total_$h += score_$h_$u;
      //@end
    }
    //@end
    //@repeat u UNROLL
    //@repeat c CHUNKS
    {
      let value = values_unpack(now.value_$u_$c, 0u);
      //@repeat h HG
      lo_$h_$c += score_$h_$u * value.lo;
      hi_$h_$c += score_$h_$u * value.hi;
      //@end
    }
    //@end
    //@end
    if (!AHEAD && turn + 1u < turns) {
      next = fetch_turn(span.sequence, at + TURN, end, kv_head, lane);
    }
  }

  if (fresh_count > 0u) {
    // One of the step's own tokens for each of the first groups of lanes.
    let mine = row < fresh_count;
    let key_row = min(row, fresh_count - 1u) * (D / 8u);
    //@repeat h HG
    var score_$h = 0.0;
    //@end
    //@repeat c CHUNKS
    {
      let at = 2u * (key_row + min(lane + $c * LANES, D / 8u - 1u));
      let key = Chunk(fresh_keys[at], fresh_keys[at + 1u]);
      //@repeat h HG
      score_$h += chunk_dot(key, query_$h_$c);
      //@end
    }
    //@end
    //@repeat h HG
    {
      score_$h = lane_total(score_$h);
      let top = max(peak_$h, select(LOWEST, score_$h, mine));
      let factor = exp(peak_$h - top);
      peak_$h = top;
      score_$h = select(0.0, exp(score_$h - top), mine);
      total_$h = total_$h * factor + score_$h;
      //@repeat c CHUNKS
      {
        let at = 2u * (key_row + min(lane + $c * LANES, D / 8u - 1u));
        lo_$h_$c = lo_$h_$c * factor + score_$h * fresh_values[at];
        hi_$h_$c = hi_$h_$c * factor + score_$h * fresh_values[at + 1u];
      }
      //@end
    }
    //@end
  }

  //@repeat h HG
  {
    let peak = joined_max(peak_$h);
    let factor = exp(peak_$h - peak);
    let total = joined_sum(vec4(total_$h * factor)).x;
    //@repeat c CHUNKS
    let sum_lo_$c = joined_sum(lo_$h_$c * factor);
    let sum_hi_$c = joined_sum(hi_$h_$c * factor);
    //@end
    if (row % JOINED == 0u) {
      let party = row / JOINED;
      //@repeat c CHUNKS
      if (lane + $c * LANES < D / 8u) {
        let at = (party * HG + $h) * (D / 4u) + 2u * (lane + $c * LANES);
        sums[at] = sum_lo_$c;
        sums[at + 1u] = sum_hi_$c;
      }
      //@end
      if (lane == 0u) {
        peaks[$h * PARTIES + party] = peak;
        totals[$h * PARTIES + party] = total;
      }
    }
  }
  //@end
  workgroupBarrier();
  let base = partial_at(token, unit, split);
  for (var i = index; i < HG * D / 4u; i += INVOCATIONS) {
    let h = i / (D / 4u);
    var peak = LOWEST;
    //@repeat p PARTIES
    let peak_$p = peaks[h * PARTIES + $p];
    peak = max(peak, peak_$p);
    //@end
    var total = 0.0;
    var sum = vec4<f32>();
    //@repeat p PARTIES
    {
      let factor = exp(peak_$p - peak);
      total += factor * totals[h * PARTIES + $p];
      sum += factor * sums[$p * (HG * D / 4u) + i];
    }
    //@end
    if (span.splits == 1u) {
      let head = head_of(unit, h);
      sum *= gain_of(head, peak, total);
      let at = (token * HEADS + head) * D + (i % (D / 4u)) * 4u;
      //@repeat e 4
      y[at + $e] = sum[$e];
      //@end
    } else {
      //@repeat e 4
      store_partial(base + i * 4u + $e, sum[$e]);
      //@end
    }
    if (span.splits > 1u && i % (D / 4u) == 0u) {
      store_partial(base + HG * D + h, peak);
      store_partial(base + HG * D + HG + h, total);
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
fn query_chunk(h: u32, chunk: u32) -> Chunk {
  if (chunk >= D / 8u) {
    return Chunk(vec4<f32>(), vec4<f32>());
  }
  let at = (h * (D / 8u) + chunk) * 2u;
  return Chunk(queries[at], queries[at + 1u]);
}
