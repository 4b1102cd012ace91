const NOT_EXPANDED = 4294967295u;
const keys_COLUMNS = 576u;
const keys_FIRST_ROW = 0u;
const expanded_COLUMNS = 256u;
const expanded_FIRST_ROW = 0u;
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
const INVOCATIONS = 64u;
const SLOTS = 2u;
const NOPE_WORDS = 24u;
const LATENT_WORDS = 64u;
const TURNING_WORDS = 8u;

@group(0) @binding(0) var<storage, read> positions: array<i32>;
@group(0) @binding(1) var<storage, read> sequence_ids: array<i32>;
@group(0) @binding(2) var<storage, read> block_table: array<i32>;
@group(0) @binding(3) var<uniform> step: vec4<u32>;
@group(0) @binding(4) var<storage, read> plan: array<u32>;
@group(0) @binding(5) var<storage, read> stretch: array<u32>;
@group(0) @binding(6) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(7) var<storage, read_write> expanded: array<vec4<u32>>;
@group(0) @binding(8) var<storage, read_write> latents: array<vec4<f32>>;

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

// What `plan.wgsl` has found.

// Where the first token of a sequence stands among those that are expanded.
fn first_place(sequence: u32) -> u32 {
  return plan[2u + sequence];
}

fn is_expanded(token: u32) -> bool {
  return first_place(u32(sequence_ids[token])) != NOT_EXPANDED;
}

// A stretch: those of the tokens in order whose keys and values are there at a time. Which of them it is
// stands in a buffer, so that all stretches have one shader.
fn stretch_first() -> u32 {
  return stretch[0];
}

fn stretch_rows() -> u32 {
  return stretch[1];
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

// Weight rows of f32, a multiple of 8 long, bound as array<vec4<u32>>.
// A word is what one lane loads at a time; it holds expanded_CHUNKS chunks.
struct expanded_Word { lo: vec4<u32>, hi: vec4<u32> }

fn expanded_fetch(row: u32, word: u32) -> expanded_Word {
  let at = (row - expanded_FIRST_ROW) * (expanded_COLUMNS / 4u) + word * 2u;
  return expanded_Word(expanded[at], expanded[at + 1u]);
}

fn expanded_unpack(word: expanded_Word, chunk: u32) -> Chunk {
  return Chunk(bitcast<vec4<f32>>(word.lo), bitcast<vec4<f32>>(word.hi));
}

fn expanded_dot(word: expanded_Word, chunk: u32, x: Chunk) -> f32 {
  return chunk_dot(expanded_unpack(word, chunk), x);
}

// Writing a cache of f32, bound as array<vec4<u32>>; `load_f32` reads it.
fn expanded_pack(value: Chunk) -> expanded_Word {
  return expanded_Word(bitcast<vec4<u32>>(value.lo), bitcast<vec4<u32>>(value.hi));
}

fn expanded_put(row: u32, chunk: u32, word: expanded_Word) {
  let at = row * (expanded_COLUMNS / 4u) + chunk * 2u;
  expanded[at] = word.lo;
  expanded[at + 1u] = word.hi;
}

fn expanded_store(row: u32, chunk: u32, value: Chunk) {
  expanded_put(row, chunk, expanded_pack(value));
}

// Brings the latents of a stretch together, and the key that turns to the keys of every head.
//
// keys: the cache; latents [rows, L] f32; expanded [rows, HEADS, N + R]: keys
// Grid: token of the stretch.

// Row of the cache that has the token at a place.
fn row_of(place: u32) -> u32 {
  var sequence = 0u;
  for (var i = 0u; i < min(plan[0], SLOTS); i++) {
    let other = plan[2u + SLOTS + i];
    if (first_place(other) > place) {
      break;
    }
    sequence = other;
  }
  return cache_row(sequence, place - first_place(sequence), 0u);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let row = group.x + group.y * groups.x;
  if (row >= stretch_rows()) {
    return;
  }
  let source = row_of(stretch_first() + row);
  for (var word = index; word < LATENT_WORDS; word += INVOCATIONS) {
    let latent = keys_unpack(keys_fetch(source, word), 0u);
    let at = (row * LATENT_WORDS + word) * 2u;
    latents[at] = latent.lo;
    latents[at + 1u] = latent.hi;
  }
  for (var i = index; i < HEADS * TURNING_WORDS; i += INVOCATIONS) {
    let word = i % TURNING_WORDS;
    let turning = keys_unpack(keys_fetch(source, LATENT_WORDS + word), 0u);
    expanded_store(row * HEADS + i / TURNING_WORDS, NOPE_WORDS + word, turning);
  }
}
