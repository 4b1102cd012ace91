//@fragment attention/prefill
//@needs DEPTH QUERIES KEYS CHUNKS VALUE_CHUNKS HEADS D V SCALE INVOCATIONS GROUP LOWEST DEPTHS SLICES
//@needs LOADS_Q LOADS_K Chunk step ready keys_unpack keys_fetch positions first_seen run_from
//@needs in_long_run span_of cache_row values_unpack values_fetch shares_of put_result
// Attention of many tokens of a sequence over keys and values that are all there already: tiles of
// queries against tiles of keys with a running softmax, so that no [T, T] matrix exists.
//
// ready [T, HEADS · D] f32: queries after norm and RoPE; y [T, HEADS · V] f32
// Grid: tile of QUERIES tokens, head, SLICES · 64 dimensions of the results.
//
// QUERIES = 64, KEYS = 32, INVOCATIONS = 16 x 8: an invocation owns the scores of 4 queries and 4
// keys, and of the results 4 queries and 8 of every 64 dimensions. Queries and keys pass through
// workgroup memory DEPTH dimensions at a time, dimension outermost; weights lie there key by key, 4
// queries a vec4. Values come straight from memory: the invocations of a row read one after the other.
//
// A tile may hold tokens of several sequences: each run of one sequence is a pass of its own. Runs
// shorter than LONG_RUN are left to attention_decode when the step has several sequences.
//
// DEPTHS is ceil(D / DEPTH), CHUNKS D / 8, VALUE_CHUNKS V / 8; LOADS_Q and LOADS_K are the chunks that
// an invocation stages.

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

fn stage_q(query: u32, chunk: u32, x: Chunk) {
  let at = chunk * 8u * (QUERIES / 4u) + query / 4u;
  //@repeat i 4
  tile_q[at + $i * (QUERIES / 4u)][query % 4u] = x.lo[$i];
  tile_q[at + (4u + $i) * (QUERIES / 4u)][query % 4u] = x.hi[$i];
  //@end
}

fn stage_k(key: u32, chunk: u32, x: Chunk) {
  let at = chunk * 8u * (KEYS / 4u) + key / 4u;
  //@repeat i 4
  tile_k[at + $i * (KEYS / 4u)][key % 4u] = x.lo[$i];
  tile_k[at + (4u + $i) * (KEYS / 4u)][key % 4u] = x.hi[$i];
  //@end
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let tile = group.x * QUERIES;
  let head = group.y;
  let kv_head = head / GROUP;
  let tile_end = min(tile + QUERIES, step.x);
  let index_k = index % 8u;
  let index_q = index / 8u;
  let own = tile + index_q * 4u;
  let first_chunk = group.z * SLICES * 8u + index_k;

  var start = tile;
  loop {
    if (start >= tile_end) {
      break;
    }
    let run = run_from(start, tile_end);
    let span = span_of(run.sequence, run.first, run.last);
    if (in_long_run(start) && span.x <= span.y) {
      var peak = vec4(LOWEST);
      var total = vec4<f32>();
      //@repeat r 4
      //@repeat s SLICES
      var lo_$r_$s = vec4<f32>();
      var hi_$r_$s = vec4<f32>();
      //@end
      //@end
      // What each of the invocation's queries sees here: positions from_r to to_r - 1, none outside the
      // run.
      //@repeat r 4
      let in_run_$r = own + $r >= start && own + $r < run.end;
      let position_$r = select(0u, u32(positions[min(own + $r, step.x - 1u)]), in_run_$r);
      let to_$r = select(0u, min(position_$r, span.y) + 1u, in_run_$r);
      let from_$r = first_seen(position_$r);
      //@end

      for (var base = span.x; base <= span.y; base += KEYS) {
        if (index < KEYS) {
          rows[index] = cache_row(run.sequence, min(base + index, span.y), kv_head);
        }
        //@repeat c 4
        var score_$c = vec4<f32>();
        //@end
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTHS; depth++) {
          //@repeat i LOADS_Q
          {
            let i = index + $i * INVOCATIONS;
            if (i < QUERIES * DEPTH_CHUNKS) {
              let query = i / DEPTH_CHUNKS;
              let chunk = i % DEPTH_CHUNKS;
              stage_q(query, chunk, load_query(tile + query, head, depth * DEPTH_CHUNKS + chunk));
            }
          }
          //@end
          //@repeat i LOADS_K
          {
            let i = index + $i * INVOCATIONS;
            if (i < KEYS * DEPTH_CHUNKS) {
              let key = i / DEPTH_CHUNKS;
              let chunk = i % DEPTH_CHUNKS;
              stage_k(key, chunk, load_key(rows[key], depth * DEPTH_CHUNKS + chunk));
            }
          }
          //@end
          workgroupBarrier();
          //@repeat d DEPTH
          {
            let q = tile_q[$d * (QUERIES / 4u) + index_q];
            let k = tile_k[$d * (KEYS / 4u) + index_k];
            score_0 = fma(q, vec4(k.x), score_0);
            score_1 = fma(q, vec4(k.y), score_1);
            score_2 = fma(q, vec4(k.z), score_2);
            score_3 = fma(q, vec4(k.w), score_3);
          }
          //@end
          workgroupBarrier();
        }

        // The running softmax: scores nobody may see are LOWEST, and their weights zero below.
        let oldest = vec4(from_0, from_1, from_2, from_3);
        let newest = vec4(to_0, to_1, to_2, to_3);
        //@repeat c 4
        let at_$c = vec4(base + index_k * 4u + $c);
        let seen_$c = (at_$c >= oldest) & (at_$c < newest);
        score_$c = select(vec4(LOWEST), score_$c, seen_$c);
        //@end
        peaks[index_k * (QUERIES / 4u) + index_q] =
          max(max(score_0, score_1), max(score_2, score_3));
        workgroupBarrier();
        var top = peak;
        //@repeat k 8
        top = max(top, peaks[$k * (QUERIES / 4u) + index_q]);
        //@end
        let factor = exp(peak - top);
        peak = top;
        total *= factor;
        //@repeat c 4
        let weight_$c = select(vec4<f32>(), exp(score_$c - top), seen_$c);
        total += weight_$c;
        weights[(index_k * 4u + $c) * (QUERIES / 4u) + index_q] = weight_$c;
        //@end
        //@repeat r 4
        //@repeat s SLICES
        lo_$r_$s *= factor[$r];
        hi_$r_$s *= factor[$r];
        //@end
        //@end
        workgroupBarrier();
        for (var key = 0u; key < KEYS; key++) {
          let weight = weights[key * (QUERIES / 4u) + index_q];
          let row = rows[key];
          //@repeat s SLICES
          {
            let v = values_unpack(values_fetch(row, min(first_chunk + $s * 8u, VALUE_CHUNKS - 1u)), 0u);
            //@repeat r 4
            lo_$r_$s = fma(vec4(weight[$r]), v.lo, lo_$r_$s);
            hi_$r_$s = fma(vec4(weight[$r]), v.hi, hi_$r_$s);
            //@end
          }
          //@end
        }
        workgroupBarrier();
      }

      // The invocations of a row each hold the total of their own keys.
      peaks[index_k * (QUERIES / 4u) + index_q] = total;
      workgroupBarrier();
      var sum = vec4<f32>();
      //@repeat k 8
      sum += peaks[$k * (QUERIES / 4u) + index_q];
      //@end
      //@repeat r 4
      if (in_run_$r) {
        let shares = shares_of(own + $r, head, peak[$r], sum[$r], span.x == 0u, index_k == 0u);
        let at = ((own + $r) * HEADS + head) * V / 4u;
        //@repeat s SLICES
        if (first_chunk + $s * 8u < VALUE_CHUNKS) {
          put_result(at + (first_chunk + $s * 8u) * 2u, lo_$r_$s, shares);
          put_result(at + (first_chunk + $s * 8u) * 2u + 1u, hi_$r_$s, shares);
        }
        //@end
      }
      //@end
      workgroupBarrier();
    }
    start = run.end;
  }
}
