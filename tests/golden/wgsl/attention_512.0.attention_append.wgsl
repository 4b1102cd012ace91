const ROTARY = 128u;
const ATTENTION_SCALING = 1.0f;
const NORM = true;
const NORM_ALL = false;
const EPS = 9.999999974752427e-7f;
const QKV_WIDTH = 5120u;
const V_FIRST = 4608u;
const VALUE_NORM = false;
const VALUE_EPS = 0.0f;
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
const INVOCATIONS = 128u;

@group(0) @binding(0) var<storage, read> positions: array<i32>;
@group(0) @binding(1) var<storage, read> sequence_ids: array<i32>;
@group(0) @binding(2) var<storage, read> block_table: array<i32>;
@group(0) @binding(3) var<uniform> step: vec4<u32>;
@group(0) @binding(4) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> inv_freq: array<f32>;
@group(0) @binding(6) var<storage, read> q_norm: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> k_norm: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> keys: array<vec4<u32>>;
@group(0) @binding(9) var<storage, read_write> values: array<vec4<u32>>;
@group(0) @binding(10) var<storage, read_write> ready: array<f32>;

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

// Brings the tokens of a step into the cache, and their queries into `ready`.
//
// q, k, v       [T, heads · D] f32, fused or not
// keys, values  the cache; ready [T, HEADS · D] f32: queries after norm, clip and RoPE
// One workgroup a token.

var<workgroup> squares: array<f32, HEADS + 2u * KV_HEADS>;

// 1/rms of a head, or of all heads together; heads of k come after those of q, those of v last.
fn scale_of(slot: u32) -> f32 {
  if (!NORM) {
    return 1.0;
  }
  if (!NORM_ALL) {
    return inverseSqrt(squares[slot] / f32(D) + EPS);
  }
  let first = select(HEADS, 0u, slot < HEADS);
  let count = select(KV_HEADS, HEADS, slot < HEADS);
  var sum = 0.0;
  for (var h = first; h < first + count; h++) {
    sum += squares[h];
  }
  return inverseSqrt(sum / f32(count * D) + EPS);
}

fn value_at(token: u32, head: u32, d: u32) -> f32 {
  let x = v_raw(token, head * D + d);
  if (!VALUE_NORM) {
    return clipped(x);
  }
  return clipped(x * inverseSqrt(squares[HEADS + KV_HEADS + head] / f32(D) + VALUE_EPS));
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.x + group.y * groups.x;
  if (token >= step.x) {
    return;
  }
  if (NORM || VALUE_NORM) {
    let heads = HEADS + select(1u, 2u, VALUE_NORM) * KV_HEADS;
    for (var h = index; h < heads; h += INVOCATIONS) {
      var sum = 0.0;
      for (var quad = 0u; quad < D / 4u; quad++) {
        var x = vec4<f32>();
        if (h < HEADS) {
          x = q_quad(token, h * (D / 4u) + quad);
        } else if (h >= HEADS + KV_HEADS) {
          let i = (h - HEADS - KV_HEADS) * D + quad * 4u;
          x = vec4(v_raw(token, i), v_raw(token, i + 1u), v_raw(token, i + 2u), v_raw(token, i + 3u));
        } else {
          x = k_quad(token, (h - HEADS) * (D / 4u) + quad);
        }
        sum += dot(x, x);
      }
      squares[h] = sum;
    }
  }
  workgroupBarrier();
  for (var i = index; i < HEADS * D; i += INVOCATIONS) {
    ready[token * HEADS * D + i] = q_element(token, i / D, i % D, scale_of(i / D));
  }
  let sequence = u32(sequence_ids[token]);
  let position = u32(positions[token]);
  for (var c = index; c < KV_HEADS * D / 8u; c += INVOCATIONS) {
    let head = c / (D / 8u);
    let d = (c % (D / 8u)) * 8u;
    let scale = scale_of(HEADS + head);
    let row = cache_row(sequence, position, head);
    keys_store(row, d / 8u, Chunk(
      vec4(
        k_element(token, head, d, scale), k_element(token, head, d + 1u, scale),
        k_element(token, head, d + 2u, scale), k_element(token, head, d + 3u, scale),
      ),
      vec4(
        k_element(token, head, d + 4u, scale), k_element(token, head, d + 5u, scale),
        k_element(token, head, d + 6u, scale), k_element(token, head, d + 7u, scale),
      ),
    ));
    values_store(row, d / 8u, Chunk(
      vec4(
        value_at(token, head, d), value_at(token, head, d + 1u),
        value_at(token, head, d + 2u), value_at(token, head, d + 3u),
      ),
      vec4(
        value_at(token, head, d + 4u), value_at(token, head, d + 5u),
        value_at(token, head, d + 6u), value_at(token, head, d + 7u),
      ),
    ));
  }
}
