const keys_COLUMNS = 128u;
const keys_FIRST_ROW = 0u;
const values_COLUMNS = 128u;
const values_FIRST_ROW = 0u;
const HEADS = 32u;
const KV_HEADS = 4u;
const GROUP = 8u;
const D = 128u;
const PAGE = 16u;
const WINDOW = 0u;
const SCALE = 0.0883883461356163f;
const LOWEST = -3.4028234663852886e+38f;
const LONG_RUN = 8u;
const PARTS_K = 4u;
const MORE_PARTS_K = 3u;
const HG = 8u;
const HEAD_PARTS = 1u;
const UNITS = 4u;
const SPLITS = 16u;
const FRESH = true;
const FRESH_MAX = 8u;
const ONLY_SHORT_RUNS = false;
const WORDS_K = 4u;
const ROUNDS_V = 4u;
const COMBINED = 16u;
const ROTARY = 128u;
const ATTENTION_SCALING = 1.0f;
const NORM = true;
const NORM_ALL = false;
const EPS = 9.999999974752427e-7f;
const ELEMENTS = 4u;
const ELEMENTS_K = 1u;
const SQUARES_Q = 8u;
const ROUNDS_Q = 1u;
const ROUNDS_K = 1u;
const SLOTS = 16u;
const THREADS = 256u;
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
@group(0) @binding(11) var<storage, read> q_norm: array<f32>;
@group(0) @binding(12) var<storage, read> k_norm: array<f32>;

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

// Writing a cache of f16, bound as array<vec4<u32>>; `load_f16` reads it. What f16 cannot hold becomes
// NaN by its bits: WGSL leaves open what pack2x16float makes of it, and an infinite key could go unseen.
fn keys_pair(x: vec2<f32>) -> u32 {
  let beyond = select(vec2(0u), vec2(0x7e00u, 0x7e000000u), abs(x) >= vec2(65520.0));
  return pack2x16float(x) | beyond.x | beyond.y;
}

fn keys_put(row: u32, chunk: u32, value: Chunk) {
  keys[row * (D / 8u) + chunk] = vec4(
    keys_pair(value.lo.xy),
    keys_pair(value.lo.zw),
    keys_pair(value.hi.xy),
    keys_pair(value.hi.zw),
  );
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

// Writing a cache of f16, bound as array<vec4<u32>>; `load_f16` reads it. What f16 cannot hold becomes
// NaN by its bits: WGSL leaves open what pack2x16float makes of it, and an infinite key could go unseen.
fn values_pair(x: vec2<f32>) -> u32 {
  let beyond = select(vec2(0u), vec2(0x7e00u, 0x7e000000u), abs(x) >= vec2(65520.0));
  return pack2x16float(x) | beyond.x | beyond.y;
}

fn values_put(row: u32, chunk: u32, value: Chunk) {
  values[row * (D / 8u) + chunk] = vec4(
    values_pair(value.lo.xy),
    values_pair(value.lo.zw),
    values_pair(value.hi.xy),
    values_pair(value.hi.zw),
  );
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
  for (var i = token + 1u; i < step.x && run < LONG_RUN; i++) {
    if (sequence_ids[i] != sequence) {
      break;
    }
    run++;
  }
  return run >= LONG_RUN;
}

fn sink_at(head: u32) -> f32 {
  return LOWEST;
}

// How the context of one token is divided among workgroups, from the token's position alone.
//
// Context in the cache: positions first..end - 1, in `splits` shares of `share` positions. With
// FRESH, tokens of this very step are not in the cache yet, or must not be read from it: `end` is
// the smallest position that the step has of this sequence, and the last split takes the rest from
// the step itself. The positions that a step has of a sequence are consecutive.
struct Span { sequence: u32, position: u32, first: u32, end: u32, share: u32, splits: u32 }

// A context of up to two tiles is not shared out: handing over takes longer than the second tile.
const UNSHARED = 2u * TILE;

fn span_of(token: u32) -> Span {
  let sequence = sequence_ids[token];
  let position = u32(positions[token]);
  var end = position + select(1u, 0u, FRESH);
  for (var i = 0u; FRESH && FRESH_MAX > 1u && i < step.x; i++) {
    if (sequence_ids[i] == sequence) {
      end = min(end, u32(positions[i]));
    }
  }
  let first = min(first_seen(position), end);
  let context = end - first;
  let even = (context + SPLITS - 1u) / SPLITS;
  let tiles = (even + TILE - 1u) / TILE * TILE;
  let share = max(select(TILE, UNSHARED, context <= UNSHARED), tiles);
  let splits = max(1u, (context + share - 1u) / share);
  return Span(u32(sequence), position, first, end, share, splits);
}

// Combines what the splits of one token and one unit (HG query heads of a key head) found.
//
// partials holds, for each (token, unit, split), HG rows of D sums, then HG peaks, then HG totals:
// all relative to the split's own peak. Order is fixed: results do not depend on who came last.
// COMBINED splits are loaded at a time.
const PARTIAL = HG * (D + 2u);

fn partial_at(token: u32, unit: u32, split: u32) -> u32 {
  return ((token * UNITS + unit) * SPLITS + split) * PARTIAL;
}

// out = Σ weights · values / (Σ weights + sink), where the weights are relative to `peak`.
fn store_result(token: u32, unit: u32, e: u32, sum: f32, peak: f32, total: f32) {
  let head = (unit / HEAD_PARTS) * GROUP + (unit % HEAD_PARTS) * HG + e / D;
  let sink = sink_at(head);
  let top = max(peak, sink);
  let factor = exp(peak - top);
  y[(token * HEADS + head) * D + e % D] = sum * factor / (total * factor + exp(sink - top));
}

fn combine(token: u32, unit: u32, splits: u32, thread: u32) {
  let base = partial_at(token, unit, 0u);
  for (var e = thread; e < HG * D; e += THREADS) {
    let rest = HG * D + e / D;
    var peak = LOWEST;
    var total = 0.0;
    var sum = 0.0;
    // So many splits at a time that one wait for memory is usually all.
    for (var s = 0u; s < splits; s += COMBINED) {
      //@repeat u COMBINED
      let at_$u = base + min(s + $u, splits - 1u) * PARTIAL;
      let value_$u = load_partial(at_$u + e);
      let peak_$u = load_partial(at_$u + rest);
      let total_$u = load_partial(at_$u + rest + HG);
      //@end
      var top = peak;
      //@repeat u COMBINED
      top = max(top, peak_$u);
      //@end
      let before = exp(peak - top);
      peak = top;
      total *= before;
      sum *= before;
      //@repeat u COMBINED
      if (s + $u < splits) {
        let factor = exp(peak_$u - top);
        total += factor * total_$u;
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

// How keys and values of a tile of the context come from the cache to the threads.

// Words of a tile that one thread reads.
struct Fetched {
  //@repeat w WORDS_K
  key_$w: keys_Word,
  //@end
  //@repeat u ROUNDS_V
  value_$u: values_Word,
  //@end
}

// Asks for the tile from `base` on, all pages first.
fn fetch_tile(sequence: u32, base: u32, end: u32, kv_head: u32, thread: u32) -> Fetched {
  let key_row = cache_row(sequence, min(base + thread / PARTS_K, end - 1u), kv_head);
  //@repeat u ROUNDS_V
  let value_row_$u = cache_row(
    sequence,
    min(base + thread / LANES_V + $u * GROUPS, end - 1u),
    kv_head,
  );
  //@end
  var fetched: Fetched;
  //@repeat w WORDS_K
  fetched.key_$w = keys_fetch(key_row, min(thread % PARTS_K + $w * PARTS_K, LANES_V - 1u));
  //@end
  //@repeat u ROUNDS_V
  fetched.value_$u = values_fetch(value_row_$u, thread % LANES_V);
  //@end
  return fetched;
}

// q, k and v side by side in one buffer: [T, (HEADS + 2 · KV_HEADS) · D]. Numbers are counted from
// the start of a token's q, k or v, quads are four of them.
const QKV_WIDTH = (HEADS + 2u * KV_HEADS) * D;

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
  return qkv_at(token * QKV_WIDTH + (HEADS + KV_HEADS) * D + i);
}

fn q_quad(token: u32, quad: u32) -> vec4<f32> {
  return qkv[token * (QKV_WIDTH / 4u) + quad];
}

fn k_quad(token: u32, quad: u32) -> vec4<f32> {
  return qkv[token * (QKV_WIDTH / 4u) + HEADS * (D / 4u) + quad];
}

fn q_norm_at(head: u32, d: u32) -> f32 {
  return q_norm[d];
}

fn k_norm_at(head: u32, d: u32) -> f32 {
  return k_norm[d];
}

fn clipped(x: f32) -> f32 {
  return x;
}

// Cosine and sine of any angle below 2^25, to about 1e-7. The built-in functions promise 2^-11, and
// only between -π and π; positions of a long context are far outside.
//
// The angle's mantissa times 2/π, in integers: the product's bits 30 and 31 are the quadrant, those
// below are where in it. (Floating-point reductions by parts of π/2 do not survive compilers that
// reassociate.) Then the polynomials of Cephes' sinf and cosf.
const TWO_OVER_PI_HIGH = 0xa2f9836eu;
const TWO_OVER_PI_LOW = 0x4e441529u;

fn turn(angle: f32) -> vec2<f32> {
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

// Elements of a query or key head as the cache and the scores want them: norm, clip, RoPE, in this
// order. `scale` is 1/rms where there is a norm and 1 otherwise. q is q or k.

// What an element needs whatever the token, so that it can be loaded before `scale` is known:
// weights of the norm, and the element that it turns with, by `frequency` a position.
struct q_Place { norm: f32, other: u32, other_norm: f32, frequency: f32, sign: f32 }

fn q_place(head: u32, d: u32) -> q_Place {
  let norm = q_norm_at(head, d);
  if (d >= ROTARY) {
    return q_Place(norm, d, norm, 0.0, 0.0);
  }
  let pair = rotary_pair(d);
  return q_Place(
    norm, pair.other, q_norm_at(head, pair.other), rotary_frequency(pair.frequency), pair.sign,
  );
}

fn q_element_at(token: u32, head: u32, d: u32, place: q_Place, scale: f32) -> f32 {
  let x = clipped(q_raw(token, head * D + d) * scale * place.norm);
  if (d >= ROTARY) {
    return x;
  }
  let other = clipped(q_raw(token, head * D + place.other) * scale * place.other_norm);
  let angle = turn(f32(positions[token]) * place.frequency) * ATTENTION_SCALING;
  return x * angle.x + other * angle.y * place.sign;
}

fn q_element(token: u32, head: u32, d: u32, scale: f32) -> f32 {
  return q_element_at(token, head, d, q_place(head, d), scale);
}

// Elements of a query or key head as the cache and the scores want them: norm, clip, RoPE, in this
// order. `scale` is 1/rms where there is a norm and 1 otherwise. k is q or k.

// What an element needs whatever the token, so that it can be loaded before `scale` is known:
// weights of the norm, and the element that it turns with, by `frequency` a position.
struct k_Place { norm: f32, other: u32, other_norm: f32, frequency: f32, sign: f32 }

fn k_place(head: u32, d: u32) -> k_Place {
  let norm = k_norm_at(head, d);
  if (d >= ROTARY) {
    return k_Place(norm, d, norm, 0.0, 0.0);
  }
  let pair = rotary_pair(d);
  return k_Place(
    norm, pair.other, k_norm_at(head, pair.other), rotary_frequency(pair.frequency), pair.sign,
  );
}

fn k_element_at(token: u32, head: u32, d: u32, place: k_Place, scale: f32) -> f32 {
  let x = clipped(k_raw(token, head * D + d) * scale * place.norm);
  if (d >= ROTARY) {
    return x;
  }
  let other = clipped(k_raw(token, head * D + place.other) * scale * place.other_norm);
  let angle = turn(f32(positions[token]) * place.frequency) * ATTENTION_SCALING;
  return x * angle.x + other * angle.y * place.sign;
}

fn k_element(token: u32, head: u32, d: u32, scale: f32) -> f32 {
  return k_element_at(token, head, d, k_place(head, d), scale);
}

// What a workgroup needs before it looks at the cache, made from the step's q, k and v.
fn is_fresh(i: u32, span: Span) -> bool {
  if (FRESH_MAX == 1u) {
    return true;
  }
  let position = u32(positions[i]);
  return u32(sequence_ids[i]) == span.sequence && position <= span.position &&
    position >= first_seen(span.position);
}

fn scale_of(slot: u32, heads: u32, lanes: Lanes) -> f32 {
  if (!NORM) {
    return 1.0;
  }
  return inverseSqrt(square_get(slot, lanes) / f32(heads * D) + EPS);
}

// Quads that a norm sums up: of one head, or of all.
const QUADS_Q = select(D, HEADS * D, NORM_ALL) / 4u;
const QUADS_K = select(D, KV_HEADS * D, NORM_ALL) / 4u;

// Queries of the unit, and with `fresh` keys and values of the step's own tokens as far as this
// one sees them, into shared memory; its own ones into the cache as well. Returns their number.
//
// Whatever comes from far is asked for before the sums of squares are awaited; the numbers of q and
// k are loaded twice, the second time from the nearest cache.
//
// ELEMENTS and ELEMENTS_K are those of the unit's queries and of a key for each thread, SQUARES_Q the
// sums of squares of queries, ROUNDS_Q and ROUNDS_K the quads of a sum for each thread. `square` has
// SLOTS = HG + FRESH_MAX sums.
fn prepare(token: u32, unit: u32, span: Span, fresh: bool, lanes: Lanes) -> u32 {
  let kv_head = unit / HEAD_PARTS;
  let first_head = kv_head * GROUP + (unit % HEAD_PARTS) * HG;
  //@repeat h SQUARES_Q
  //@repeat n ROUNDS_Q
  let square_$h_$n = q_quad(
    token,
    select((first_head + $h) * (D / 4u), 0u, NORM_ALL) +
      min(lanes.index + $n * THREADS, QUADS_Q - 1u),
  );
  //@end
  //@end
  //@repeat e ELEMENTS
  let query_$e = min(lanes.index + $e * THREADS, HG * D - 1u);
  let q_place_$e = q_place(first_head + query_$e / D, query_$e % D);
  //@end
  //@repeat e ELEMENTS_K
  let d_$e = min(lanes.index + $e * THREADS, D - 1u);
  var k_place_$e: k_Place;
  if (fresh) {
    k_place_$e = k_place(kv_head, d_$e);
  }
  //@end
  var count = 0u;
  for (var i = 0u; fresh && i < step.x; i++) {
    if (is_fresh(i, span)) {
      //@repeat e ELEMENTS_K
      let value_$e = v_raw(i, kv_head * D + d_$e);
      //@end
      if (NORM) {
        var sum = 0.0;
        //@repeat n ROUNDS_K
        {
          let quad = lanes.index + $n * THREADS;
          let x = k_quad(i, select(kv_head * (D / 4u), 0u, NORM_ALL) + min(quad, QUADS_K - 1u));
          sum += select(0.0, dot(x, x), quad < QUADS_K);
        }
        //@end
        square_put(HG + count, sum, lanes);
      }
      //@repeat e ELEMENTS_K
      if (lanes.index + $e * THREADS < D) {
        let at = count * D + d_$e;
        fresh_values[at / 4u][at % 4u] = cached(clipped(value_$e));
      }
      //@end
      count++;
    }
  }
  //@repeat h SQUARES_Q
  {
    var sum = 0.0;
    //@repeat n ROUNDS_Q
    sum += select(0.0, dot(square_$h_$n, square_$h_$n), lanes.index + $n * THREADS < QUADS_Q);
    //@end
    square_put($h, sum, lanes);
  }
  //@end
  if (NORM) {
    square_meet(lanes);
  }
  //@repeat e ELEMENTS
  if (lanes.index + $e * THREADS < HG * D) {
    let h = query_$e / D;
    let scale = scale_of(select(h, 0u, NORM_ALL), select(1u, HEADS, NORM_ALL), lanes);
    queries[query_$e / 4u][query_$e % 4u] =
      q_element_at(token, first_head + h, query_$e % D, q_place_$e, scale) * SCALE;
  }
  //@end
  var slot = 0u;
  var own = 0u;
  for (var i = 0u; i < step.x && slot < count; i++) {
    if (is_fresh(i, span)) {
      let scale = scale_of(HG + slot, select(1u, KV_HEADS, NORM_ALL), lanes);
      //@repeat e ELEMENTS_K
      if (lanes.index + $e * THREADS < D) {
        let at = slot * D + d_$e;
        fresh_keys[at / 4u][at % 4u] =
          cached(k_element_at(i, kv_head, d_$e, k_place_$e, scale));
      }
      //@end
      own = select(own, slot, i == token);
      slot++;
    }
  }
  workgroupBarrier();
  if (fresh && unit % HEAD_PARTS == 0u) {
    let row = cache_row(span.sequence, span.position, kv_head);
    let at = own * (D / 4u);
    for (var c = lanes.index; c < D / 8u; c += THREADS) {
      keys_put(row, c, Chunk(fresh_keys[at + 2u * c], fresh_keys[at + 2u * c + 1u]));
      values_put(row, c, Chunk(fresh_values[at + 2u * c], fresh_values[at + 2u * c + 1u]));
    }
  }
  return count;
}

// The invocations of a workgroup, where subgroups may be used. Nothing is assumed about the size of
// subgroups but that they have 8 invocations or more.
const MAX_SUBGROUPS = max(1u, THREADS / 8u);

struct Lanes {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) invocation: u32,
}

fn lanes_add(a: f32, b: f32) -> f32 {
  return a + b;
}

// Combines SLOTS numbers over all invocations: every invocation puts its share of each, then
// square_meet (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// subgroupAdd is subgroupAdd or subgroupMax, lanes_add the same for two numbers.
var<workgroup> square_shares: array<f32, SLOTS * MAX_SUBGROUPS>;

fn square_put(slot: u32, value: f32, lanes: Lanes) {
  let share = subgroupAdd(value);
  if (lanes.invocation == 0u) {
    square_shares[lanes.subgroup * SLOTS + slot] = share;
  }
}

fn square_meet(lanes: Lanes) {
  workgroupBarrier();
}

fn square_get(slot: u32, lanes: Lanes) -> f32 {
  var result = square_shares[slot];
  for (var s = 1u; s < lanes.subgroups; s++) {
    result = lanes_add(result, square_shares[s * SLOTS + slot]);
  }
  return result;
}

// Attention of single tokens over the paged cache, the context shared out to several workgroups.
//
// y [T, HEADS · D] f32
// Grid: split, unit (a key head, or a part of the query heads that share it), token.
//
// A workgroup holds the HG query heads of its unit in shared memory and walks its share of the
// context in tiles. For the scores PARTS_K threads share a token's key; for the sums LANES_V
// threads share its value, GROUPS tokens at a time, each group with a softmax of its own that is
// joined at the end: nothing but the scores passes between threads on the way. Keys and values are
// read once for all HG heads. Those of the first tile are on their way while the queries are made.
//
// With FRESH the step's own tokens are brought into the cache here as well: nobody reads them from
// there in this step (see span.wgsl), so one dispatch is enough. With TICKET the
// last split to arrive combines all of them; otherwise `attention_combine` does.
//
// MORE_PARTS_K is PARTS_K - 1, WORDS_K the words of a key that one thread reads, ROUNDS_V the tokens of
// a tile that one group takes.

const LANES_V = D / 8u;
const GROUPS = THREADS / LANES_V;
const TILE = THREADS / PARTS_K;
// The next tile is asked for while the scores of this one are awaited, unless results of many heads
// leave no registers for both.
const EARLY = HG <= 2u;

var<workgroup> queries: array<vec4<f32>, HG * D / 4u>;
var<workgroup> scores: array<f32, HG * THREADS>;
var<workgroup> sums: array<vec4<f32>, 2u * THREADS>;
var<workgroup> peaks: array<f32, HG * GROUPS>;
var<workgroup> totals: array<f32, HG * GROUPS>;
var<workgroup> fresh_keys: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> fresh_values: array<vec4<f32>, FRESH_MAX * D / 4u>;
var<workgroup> arrived: u32;

@compute @workgroup_size(THREADS)
fn main(lanes: Lanes, @builtin(workgroup_id) group: vec3<u32>) {
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
  let thread = lanes.index;
  let kv_head = unit / HEAD_PARTS;
  let first = span.first + split * span.share;
  let end = min(first + span.share, span.end);
  let tiles = (max(end, first) - first + TILE - 1u) / TILE;
  var next: Fetched;
  if (tiles > 0u) {
    next = fetch_tile(span.sequence, first, end, kv_head, thread);
  }
  let fresh_count = prepare(token, unit, span, FRESH && split + 1u == span.splits, lanes);

  let part = thread % PARTS_K;
  let key = thread / PARTS_K;
  let value_group = thread / LANES_V;
  let value_lane = thread % LANES_V;
  //@repeat h HG
  var peak_$h = LOWEST;
  var total_$h = 0.0;
  var lo_$h = vec4<f32>();
  var hi_$h = vec4<f32>();
  //@end

  for (var tile = 0u; tile < tiles + select(0u, 1u, fresh_count > 0u); tile++) {
    let of_step = tile == tiles;
    let base = first + tile * TILE;
    let count = select(min(TILE, end - base), fresh_count, of_step);
    let now = next;
    if (!of_step) {
      //@repeat h HG
      var score_$h = 0.0;
      //@end
      //@repeat w WORDS_K
      if (part + $w * PARTS_K < LANES_V) {
        let k = keys_unpack(now.key_$w, 0u);
        let chunk = part + $w * PARTS_K;
        //@repeat h HG
        score_$h += chunk_dot(k, query_chunk($h, chunk));
        //@end
      }
      //@end
      //@repeat h HG
      scores[$h * THREADS + thread] = score_$h;
      //@end
      if (EARLY && tile + 1u < tiles) {
        next = fetch_tile(span.sequence, base + TILE, end, kv_head, thread);
      }
    } else if (key < count) {
      //@repeat h HG
      var score_$h = 0.0;
      //@end
      for (var chunk = part; chunk < LANES_V; chunk += PARTS_K) {
        let at = (key * LANES_V + chunk) * 2u;
        let k = Chunk(fresh_keys[at], fresh_keys[at + 1u]);
        //@repeat h HG
        score_$h += chunk_dot(k, query_chunk($h, chunk));
        //@end
      }
      //@repeat h HG
      scores[$h * THREADS + thread] = score_$h;
      //@end
    }
    workgroupBarrier();
    if (value_group < GROUPS) {
      //@repeat h HG
      var top_$h = peak_$h;
      //@end
      for (var j = value_group; j < count; j += GROUPS) {
        //@repeat h HG
        top_$h = max(top_$h, score_at($h, j));
        //@end
      }
      //@repeat h HG
      {
        let factor = exp(peak_$h - top_$h);
        peak_$h = top_$h;
        total_$h *= factor;
        lo_$h *= factor;
        hi_$h *= factor;
      }
      //@end
      //@repeat u ROUNDS_V
      {
        let j = value_group + $u * GROUPS;
        if (j < count) {
          var v = values_unpack(now.value_$u, 0u);
          if (of_step) {
            let at = (j * LANES_V + value_lane) * 2u;
            v = Chunk(fresh_values[at], fresh_values[at + 1u]);
          }
          //@repeat h HG
          {
            let weight = exp(score_at($h, j) - peak_$h);
            total_$h += weight;
            lo_$h += weight * v.lo;
            hi_$h += weight * v.hi;
          }
          //@end
        }
      }
      //@end
    }
    if (!EARLY && tile + 1u < tiles) {
      next = fetch_tile(span.sequence, base + TILE, end, kv_head, thread);
    }
    workgroupBarrier();
  }

  // The groups' sums of each head are brought to a common peak and added in order.
  if (value_lane == 0u && value_group < GROUPS) {
    //@repeat h HG
    peaks[$h * GROUPS + value_group] = peak_$h;
    totals[$h * GROUPS + value_group] = total_$h;
    //@end
  }
  let base = partial_at(token, unit, split);
  //@repeat h HG
  {
    if ($h > 0) {
      workgroupBarrier();
    }
    if (value_group < GROUPS) {
      sums[(2u * value_group) * LANES_V + value_lane] = lo_$h;
      sums[(2u * value_group + 1u) * LANES_V + value_lane] = hi_$h;
    }
    workgroupBarrier();
    if (thread < 2u * LANES_V) {
      var peak = LOWEST;
      for (var g = 0u; g < GROUPS; g++) {
        peak = max(peak, peaks[$h * GROUPS + g]);
      }
      var total = 0.0;
      var sum = vec4<f32>();
      for (var g = 0u; g < GROUPS; g++) {
        let factor = exp(peaks[$h * GROUPS + g] - peak);
        total += factor * totals[$h * GROUPS + g];
        sum += factor * sums[2u * g * LANES_V + thread];
      }
      let e = $h * D + (thread % LANES_V) * 8u + (thread / LANES_V) * 4u;
      //@repeat i 4
      if (span.splits == 1u) {
        store_result(token, unit, e + $i, sum[$i], peak, total);
      } else {
        store_partial(base + e + $i, sum[$i]);
      }
      //@end
      if (span.splits > 1u && thread == 0u) {
        store_partial(base + HG * D + $h, peak);
        store_partial(base + HG * D + HG + $h, total);
      }
    }
  }
  //@end
  if (!TICKET || span.splits == 1u) {
    return;
  }
  storageBarrier();
  if (thread == 0u) {
    arrived = take_ticket(token * UNITS + unit, span.splits);
  }
  if (workgroupUniformLoad(&arrived) + 1u == span.splits) {
    storageBarrier();
    combine(token, unit, span.splits, thread);
  }
}

fn query_chunk(h: u32, chunk: u32) -> Chunk {
  let at = (h * LANES_V + chunk) * 2u;
  return Chunk(queries[at], queries[at + 1u]);
}

fn score_at(h: u32, j: u32) -> f32 {
  let at = h * THREADS + j * PARTS_K;
  var sum = scores[at];
  //@repeat p MORE_PARTS_K
  sum += scores[at + 1u + $p];
  //@end
  return sum;
}
