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
const DEPTH = 32u;
const LOADS_Q = 2u;
const LOADS_K = 1u;
const DEPTHS = 4u;
const QUERIES = 64u;
const KEYS = 32u;
const THREADS = 128u;
const SLICES = 2u;
const CHUNKS = 16u;

@group(0) @binding(0) var<storage, read> positions: array<i32>;
@group(0) @binding(1) var<storage, read> sequence_ids: array<i32>;
@group(0) @binding(2) var<storage, read> block_table: array<i32>;
@group(0) @binding(3) var<uniform> step: vec4<u32>;
@group(0) @binding(4) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> values: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> ready: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;

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

fn keys_unpack(word: keys_Word, part: u32) -> Chunk {
  return Chunk(
    vec4(unpack2x16float(word.x), unpack2x16float(word.y)),
    vec4(unpack2x16float(word.z), unpack2x16float(word.w)),
  );
}

fn keys_dot(word: keys_Word, part: u32, x: Chunk) -> f32 {
  return chunk_dot(keys_unpack(word, part), x);
}

// Weight rows of f16, a multiple of 8 long, bound as array<vec4<u32>>. Needs no shader-f16.
alias values_Word = vec4<u32>;

fn values_fetch(row: u32, word: u32) -> values_Word {
  return values[(row - values_FIRST_ROW) * (values_COLUMNS / 8u) + word];
}

fn values_unpack(word: values_Word, part: u32) -> Chunk {
  return Chunk(
    vec4(unpack2x16float(word.x), unpack2x16float(word.y)),
    vec4(unpack2x16float(word.z), unpack2x16float(word.w)),
  );
}

fn values_dot(word: values_Word, part: u32, x: Chunk) -> f32 {
  return chunk_dot(values_unpack(word, part), x);
}

// What a number is after a way through the cache: steps are 2^-10 of the power of two below it, and
// 2^-24 below 2^-14; round() goes to even. (NVIDIA's compiler takes unpack2x16float of
// pack2x16float for the number itself, so the last bits of a step's own tokens stayed.)
fn cached(value: f32) -> f32 {
  let magnitude = abs(value);
  let exponent = clamp(bitcast<u32>(magnitude) >> 23u, 113u, 250u);
  let steps = round(magnitude * bitcast<f32>((264u - exponent) << 23u));
  return sign(value) * steps * bitcast<f32>((exponent - 10u) << 23u);
}

fn sink_at(head: u32) -> f32 {
  return LOWEST;
}

// Attention of many tokens of a sequence over the paged cache, which holds them already: tiles of
// queries against tiles of keys with a running softmax, so that no [T, T] matrix exists.
//
// ready [T, HEADS · D] f32: queries after norm and RoPE; y [T, HEADS · D] f32
// Grid: tile of QUERIES tokens, head.
//
// QUERIES = 64, KEYS = 32, THREADS = 16 x 8: a thread owns the scores of 4 queries and 4 keys, and
// of the results 4 queries and 8 of every 64 dimensions. Queries and keys pass through shared memory
// DEPTH dimensions at a time, dimension outermost; weights lie there key by key, 4 queries a vec4.
// Values come straight from the cache: the threads of a row read one after the other.
//
// A tile may hold tokens of several sequences: each run of one sequence is a pass of its own. Runs
// shorter than LONG_RUN are left to attention_decode when the step has several sequences.
//
// Prelude: HEADS, KV_HEADS, GROUP, D, PAGE, WINDOW, SCALE, LOWEST, DEPTH, DEPTHS (ceil(D / DEPTH)),
// LOADS_Q, LOADS_K (chunks of 8 dimensions that a thread stages), SLICES (ceil(D / 64)), CHUNKS.
// Fragments: keys_*, values_* (cache), cache_row, first_seen, in_long_run, sink_at.

const DEPTH_CHUNKS = DEPTH / 8u;

var<workgroup> tile_q: array<vec4<f32>, DEPTH * QUERIES / 4u>;
var<workgroup> tile_k: array<vec4<f32>, DEPTH * KEYS / 4u>;
var<workgroup> weights: array<vec4<f32>, KEYS * QUERIES / 4u>;
var<workgroup> peaks: array<vec4<f32>, 8u * QUERIES / 4u>;
var<workgroup> rows: array<u32, KEYS>;

// Eight dimensions of a query, zero behind the end of the head or of the step.
fn load_query(token: u32, head: u32, chunk: u32) -> Chunk {
  if (token >= step.x || chunk >= CHUNKS) {
    return Chunk(vec4<f32>(), vec4<f32>());
  }
  let at = ((token * HEADS + head) * D + chunk * 8u) / 4u;
  return Chunk(ready[at] * SCALE, ready[at + 1u] * SCALE);
}

fn load_key(row: u32, chunk: u32) -> Chunk {
  if (chunk >= CHUNKS) {
    return Chunk(vec4<f32>(), vec4<f32>());
  }
  return keys_unpack(keys_fetch(row, chunk), 0u);
}

fn put_q(query: u32, chunk: u32, x: Chunk) {
  let at = chunk * 8u * (QUERIES / 4u) + query / 4u;
  tile_q[at + 0 * (QUERIES / 4u)][query % 4u] = x.lo[0];
  tile_q[at + (4u + 0) * (QUERIES / 4u)][query % 4u] = x.hi[0];
  tile_q[at + 1 * (QUERIES / 4u)][query % 4u] = x.lo[1];
  tile_q[at + (4u + 1) * (QUERIES / 4u)][query % 4u] = x.hi[1];
  tile_q[at + 2 * (QUERIES / 4u)][query % 4u] = x.lo[2];
  tile_q[at + (4u + 2) * (QUERIES / 4u)][query % 4u] = x.hi[2];
  tile_q[at + 3 * (QUERIES / 4u)][query % 4u] = x.lo[3];
  tile_q[at + (4u + 3) * (QUERIES / 4u)][query % 4u] = x.hi[3];
}

fn put_k(key: u32, chunk: u32, x: Chunk) {
  let at = chunk * 8u * (KEYS / 4u) + key / 4u;
  tile_k[at + 0 * (KEYS / 4u)][key % 4u] = x.lo[0];
  tile_k[at + (4u + 0) * (KEYS / 4u)][key % 4u] = x.hi[0];
  tile_k[at + 1 * (KEYS / 4u)][key % 4u] = x.lo[1];
  tile_k[at + (4u + 1) * (KEYS / 4u)][key % 4u] = x.hi[1];
  tile_k[at + 2 * (KEYS / 4u)][key % 4u] = x.lo[2];
  tile_k[at + (4u + 2) * (KEYS / 4u)][key % 4u] = x.hi[2];
  tile_k[at + 3 * (KEYS / 4u)][key % 4u] = x.lo[3];
  tile_k[at + (4u + 3) * (KEYS / 4u)][key % 4u] = x.hi[3];
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let tile = group.x * QUERIES;
  let head = group.y;
  let kv_head = head / GROUP;
  let tile_end = min(tile + QUERIES, step.x);
  let thread_k = thread % 8u;
  let thread_q = thread / 8u;
  let own = tile + thread_q * 4u;

  var run = tile;
  loop {
    if (run >= tile_end) {
      break;
    }
    let sequence = sequence_ids[run];
    var run_end = run;
    var first = 0xffffffffu;
    var last = 0u;
    loop {
      if (run_end >= tile_end || sequence_ids[run_end] != sequence) {
        break;
      }
      let position = u32(positions[run_end]);
      first = min(first, first_seen(position));
      last = max(last, position);
      run_end++;
    }
    if (in_long_run(run)) {
      var peak = vec4(LOWEST);
      var total = vec4<f32>();
      var lo_0_0 = vec4<f32>();
      var hi_0_0 = vec4<f32>();
      var lo_0_1 = vec4<f32>();
      var hi_0_1 = vec4<f32>();
      var lo_1_0 = vec4<f32>();
      var hi_1_0 = vec4<f32>();
      var lo_1_1 = vec4<f32>();
      var hi_1_1 = vec4<f32>();
      var lo_2_0 = vec4<f32>();
      var hi_2_0 = vec4<f32>();
      var lo_2_1 = vec4<f32>();
      var hi_2_1 = vec4<f32>();
      var lo_3_0 = vec4<f32>();
      var hi_3_0 = vec4<f32>();
      var lo_3_1 = vec4<f32>();
      var hi_3_1 = vec4<f32>();
      // What each of the thread's queries sees: positions from_r to to_r - 1, none outside the run.
      let in_run_0 = own + 0 >= run && own + 0 < run_end;
      let position_0 = select(0u, u32(positions[min(own + 0, step.x - 1u)]), in_run_0);
      let to_0 = select(0u, position_0 + 1u, in_run_0);
      let from_0 = first_seen(position_0);
      let in_run_1 = own + 1 >= run && own + 1 < run_end;
      let position_1 = select(0u, u32(positions[min(own + 1, step.x - 1u)]), in_run_1);
      let to_1 = select(0u, position_1 + 1u, in_run_1);
      let from_1 = first_seen(position_1);
      let in_run_2 = own + 2 >= run && own + 2 < run_end;
      let position_2 = select(0u, u32(positions[min(own + 2, step.x - 1u)]), in_run_2);
      let to_2 = select(0u, position_2 + 1u, in_run_2);
      let from_2 = first_seen(position_2);
      let in_run_3 = own + 3 >= run && own + 3 < run_end;
      let position_3 = select(0u, u32(positions[min(own + 3, step.x - 1u)]), in_run_3);
      let to_3 = select(0u, position_3 + 1u, in_run_3);
      let from_3 = first_seen(position_3);

      for (var base = first; base <= last; base += KEYS) {
        if (thread < KEYS) {
          rows[thread] = cache_row(u32(sequence), min(base + thread, last), kv_head);
        }
        var score_0 = vec4<f32>();
        var score_1 = vec4<f32>();
        var score_2 = vec4<f32>();
        var score_3 = vec4<f32>();
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTHS; depth++) {
          {
            let i = thread + 0 * THREADS;
            if (i < QUERIES * DEPTH_CHUNKS) {
              let query = i / DEPTH_CHUNKS;
              let chunk = i % DEPTH_CHUNKS;
              put_q(query, chunk, load_query(tile + query, head, depth * DEPTH_CHUNKS + chunk));
            }
          }
          {
            let i = thread + 1 * THREADS;
            if (i < QUERIES * DEPTH_CHUNKS) {
              let query = i / DEPTH_CHUNKS;
              let chunk = i % DEPTH_CHUNKS;
              put_q(query, chunk, load_query(tile + query, head, depth * DEPTH_CHUNKS + chunk));
            }
          }
          {
            let i = thread + 0 * THREADS;
            if (i < KEYS * DEPTH_CHUNKS) {
              let key = i / DEPTH_CHUNKS;
              let chunk = i % DEPTH_CHUNKS;
              put_k(key, chunk, load_key(rows[key], depth * DEPTH_CHUNKS + chunk));
            }
          }
          workgroupBarrier();
          {
            let q = tile_q[0 * (QUERIES / 4u) + thread_q];
            let k = tile_k[0 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[1 * (QUERIES / 4u) + thread_q];
            let k = tile_k[1 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[2 * (QUERIES / 4u) + thread_q];
            let k = tile_k[2 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[3 * (QUERIES / 4u) + thread_q];
            let k = tile_k[3 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[4 * (QUERIES / 4u) + thread_q];
            let k = tile_k[4 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[5 * (QUERIES / 4u) + thread_q];
            let k = tile_k[5 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[6 * (QUERIES / 4u) + thread_q];
            let k = tile_k[6 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[7 * (QUERIES / 4u) + thread_q];
            let k = tile_k[7 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[8 * (QUERIES / 4u) + thread_q];
            let k = tile_k[8 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[9 * (QUERIES / 4u) + thread_q];
            let k = tile_k[9 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[10 * (QUERIES / 4u) + thread_q];
            let k = tile_k[10 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[11 * (QUERIES / 4u) + thread_q];
            let k = tile_k[11 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[12 * (QUERIES / 4u) + thread_q];
            let k = tile_k[12 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[13 * (QUERIES / 4u) + thread_q];
            let k = tile_k[13 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[14 * (QUERIES / 4u) + thread_q];
            let k = tile_k[14 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[15 * (QUERIES / 4u) + thread_q];
            let k = tile_k[15 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[16 * (QUERIES / 4u) + thread_q];
            let k = tile_k[16 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[17 * (QUERIES / 4u) + thread_q];
            let k = tile_k[17 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[18 * (QUERIES / 4u) + thread_q];
            let k = tile_k[18 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[19 * (QUERIES / 4u) + thread_q];
            let k = tile_k[19 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[20 * (QUERIES / 4u) + thread_q];
            let k = tile_k[20 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[21 * (QUERIES / 4u) + thread_q];
            let k = tile_k[21 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[22 * (QUERIES / 4u) + thread_q];
            let k = tile_k[22 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[23 * (QUERIES / 4u) + thread_q];
            let k = tile_k[23 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[24 * (QUERIES / 4u) + thread_q];
            let k = tile_k[24 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[25 * (QUERIES / 4u) + thread_q];
            let k = tile_k[25 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[26 * (QUERIES / 4u) + thread_q];
            let k = tile_k[26 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[27 * (QUERIES / 4u) + thread_q];
            let k = tile_k[27 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[28 * (QUERIES / 4u) + thread_q];
            let k = tile_k[28 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[29 * (QUERIES / 4u) + thread_q];
            let k = tile_k[29 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[30 * (QUERIES / 4u) + thread_q];
            let k = tile_k[30 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          {
            let q = tile_q[31 * (QUERIES / 4u) + thread_q];
            let k = tile_k[31 * (KEYS / 4u) + thread_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          workgroupBarrier();
        }

        // The running softmax: scores nobody may see are LOWEST, and their weights zero below.
        let oldest = vec4(from_0, from_1, from_2, from_3);
        let newest = vec4(to_0, to_1, to_2, to_3);
        let at_0 = vec4(base + thread_k * 4u + 0);
        let seen_0 = (at_0 >= oldest) & (at_0 < newest);
        score_0 = select(vec4(LOWEST), score_0, seen_0);
        let at_1 = vec4(base + thread_k * 4u + 1);
        let seen_1 = (at_1 >= oldest) & (at_1 < newest);
        score_1 = select(vec4(LOWEST), score_1, seen_1);
        let at_2 = vec4(base + thread_k * 4u + 2);
        let seen_2 = (at_2 >= oldest) & (at_2 < newest);
        score_2 = select(vec4(LOWEST), score_2, seen_2);
        let at_3 = vec4(base + thread_k * 4u + 3);
        let seen_3 = (at_3 >= oldest) & (at_3 < newest);
        score_3 = select(vec4(LOWEST), score_3, seen_3);
        peaks[thread_k * (QUERIES / 4u) + thread_q] =
          max(max(score_0, score_1), max(score_2, score_3));
        workgroupBarrier();
        var top = peak;
        top = max(top, peaks[0 * (QUERIES / 4u) + thread_q]);
        top = max(top, peaks[1 * (QUERIES / 4u) + thread_q]);
        top = max(top, peaks[2 * (QUERIES / 4u) + thread_q]);
        top = max(top, peaks[3 * (QUERIES / 4u) + thread_q]);
        top = max(top, peaks[4 * (QUERIES / 4u) + thread_q]);
        top = max(top, peaks[5 * (QUERIES / 4u) + thread_q]);
        top = max(top, peaks[6 * (QUERIES / 4u) + thread_q]);
        top = max(top, peaks[7 * (QUERIES / 4u) + thread_q]);
        let factor = exp(peak - top);
        peak = top;
        total *= factor;
        let weight_0 = select(vec4<f32>(), exp(score_0 - top), seen_0);
        total += weight_0;
        weights[(thread_k * 4u + 0) * (QUERIES / 4u) + thread_q] = weight_0;
        let weight_1 = select(vec4<f32>(), exp(score_1 - top), seen_1);
        total += weight_1;
        weights[(thread_k * 4u + 1) * (QUERIES / 4u) + thread_q] = weight_1;
        let weight_2 = select(vec4<f32>(), exp(score_2 - top), seen_2);
        total += weight_2;
        weights[(thread_k * 4u + 2) * (QUERIES / 4u) + thread_q] = weight_2;
        let weight_3 = select(vec4<f32>(), exp(score_3 - top), seen_3);
        total += weight_3;
        weights[(thread_k * 4u + 3) * (QUERIES / 4u) + thread_q] = weight_3;
        lo_0_0 *= factor[0];
        hi_0_0 *= factor[0];
        lo_0_1 *= factor[0];
        hi_0_1 *= factor[0];
        lo_1_0 *= factor[1];
        hi_1_0 *= factor[1];
        lo_1_1 *= factor[1];
        hi_1_1 *= factor[1];
        lo_2_0 *= factor[2];
        hi_2_0 *= factor[2];
        lo_2_1 *= factor[2];
        hi_2_1 *= factor[2];
        lo_3_0 *= factor[3];
        hi_3_0 *= factor[3];
        lo_3_1 *= factor[3];
        hi_3_1 *= factor[3];
        workgroupBarrier();
        for (var key = 0u; key < KEYS; key++) {
          let weight = weights[key * (QUERIES / 4u) + thread_q];
          let row = rows[key];
          {
            let v = values_unpack(values_fetch(row, min(0 * 8u + thread_k, CHUNKS - 1u)), 0u);
            lo_0_0 = fma(vec4(weight[0]), v.lo, lo_0_0);
            hi_0_0 = fma(vec4(weight[0]), v.hi, hi_0_0);
            lo_1_0 = fma(vec4(weight[1]), v.lo, lo_1_0);
            hi_1_0 = fma(vec4(weight[1]), v.hi, hi_1_0);
            lo_2_0 = fma(vec4(weight[2]), v.lo, lo_2_0);
            hi_2_0 = fma(vec4(weight[2]), v.hi, hi_2_0);
            lo_3_0 = fma(vec4(weight[3]), v.lo, lo_3_0);
            hi_3_0 = fma(vec4(weight[3]), v.hi, hi_3_0);
          }
          {
            let v = values_unpack(values_fetch(row, min(1 * 8u + thread_k, CHUNKS - 1u)), 0u);
            lo_0_1 = fma(vec4(weight[0]), v.lo, lo_0_1);
            hi_0_1 = fma(vec4(weight[0]), v.hi, hi_0_1);
            lo_1_1 = fma(vec4(weight[1]), v.lo, lo_1_1);
            hi_1_1 = fma(vec4(weight[1]), v.hi, hi_1_1);
            lo_2_1 = fma(vec4(weight[2]), v.lo, lo_2_1);
            hi_2_1 = fma(vec4(weight[2]), v.hi, hi_2_1);
            lo_3_1 = fma(vec4(weight[3]), v.lo, lo_3_1);
            hi_3_1 = fma(vec4(weight[3]), v.hi, hi_3_1);
          }
        }
        workgroupBarrier();
      }

      // The threads of a row each hold the total of their own keys.
      peaks[thread_k * (QUERIES / 4u) + thread_q] = total;
      workgroupBarrier();
      var sum = vec4<f32>();
      sum += peaks[0 * (QUERIES / 4u) + thread_q];
      sum += peaks[1 * (QUERIES / 4u) + thread_q];
      sum += peaks[2 * (QUERIES / 4u) + thread_q];
      sum += peaks[3 * (QUERIES / 4u) + thread_q];
      sum += peaks[4 * (QUERIES / 4u) + thread_q];
      sum += peaks[5 * (QUERIES / 4u) + thread_q];
      sum += peaks[6 * (QUERIES / 4u) + thread_q];
      sum += peaks[7 * (QUERIES / 4u) + thread_q];
      let sink = sink_at(head);
      let top = max(peak, vec4(sink));
      let scale = exp(peak - top) / (sum * exp(peak - top) + exp(vec4(sink) - top));
      if (in_run_0) {
        let at = ((own + 0) * HEADS + head) * D / 4u;
        if (0 * 8u + thread_k < CHUNKS) {
          y[at + (0 * 8u + thread_k) * 2u] = lo_0_0 * scale[0];
          y[at + (0 * 8u + thread_k) * 2u + 1u] = hi_0_0 * scale[0];
        }
        if (1 * 8u + thread_k < CHUNKS) {
          y[at + (1 * 8u + thread_k) * 2u] = lo_0_1 * scale[0];
          y[at + (1 * 8u + thread_k) * 2u + 1u] = hi_0_1 * scale[0];
        }
      }
      if (in_run_1) {
        let at = ((own + 1) * HEADS + head) * D / 4u;
        if (0 * 8u + thread_k < CHUNKS) {
          y[at + (0 * 8u + thread_k) * 2u] = lo_1_0 * scale[1];
          y[at + (0 * 8u + thread_k) * 2u + 1u] = hi_1_0 * scale[1];
        }
        if (1 * 8u + thread_k < CHUNKS) {
          y[at + (1 * 8u + thread_k) * 2u] = lo_1_1 * scale[1];
          y[at + (1 * 8u + thread_k) * 2u + 1u] = hi_1_1 * scale[1];
        }
      }
      if (in_run_2) {
        let at = ((own + 2) * HEADS + head) * D / 4u;
        if (0 * 8u + thread_k < CHUNKS) {
          y[at + (0 * 8u + thread_k) * 2u] = lo_2_0 * scale[2];
          y[at + (0 * 8u + thread_k) * 2u + 1u] = hi_2_0 * scale[2];
        }
        if (1 * 8u + thread_k < CHUNKS) {
          y[at + (1 * 8u + thread_k) * 2u] = lo_2_1 * scale[2];
          y[at + (1 * 8u + thread_k) * 2u + 1u] = hi_2_1 * scale[2];
        }
      }
      if (in_run_3) {
        let at = ((own + 3) * HEADS + head) * D / 4u;
        if (0 * 8u + thread_k < CHUNKS) {
          y[at + (0 * 8u + thread_k) * 2u] = lo_3_0 * scale[3];
          y[at + (0 * 8u + thread_k) * 2u + 1u] = hi_3_0 * scale[3];
        }
        if (1 * 8u + thread_k < CHUNKS) {
          y[at + (1 * 8u + thread_k) * 2u] = lo_3_1 * scale[3];
          y[at + (1 * 8u + thread_k) * 2u + 1u] = hi_3_1 * scale[3];
        }
      }
      workgroupBarrier();
    }
    run = run_end;
  }
}
