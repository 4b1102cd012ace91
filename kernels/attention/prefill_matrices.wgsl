//@fragment attention/prefill_matrices
//@needs QUERIES KEYS INVOCATIONS PARTS PART_WORDS CHUNKS HEADS V SCALE GROUP LOWEST LOADS VALUE_CHUNKS
//@needs VALUE_LOADS TEAM_M TEAMS COLUMNS MATRIX_M MATRIX_N MATRIX_K ROWS_F PIECES PIECE_F QUERY_LOADS STEPS_F
//@needs SLICES SLICE_F Chunk step positions first_seen run_from in_long_run span_of cache_row
//@needs keys_fetch keys_unpack values_fetch values_unpack values_Word shares_of put_result halves_of Result
//@needs team_of lane_of STRIDE SCORES SCORE_STRIDE SLACK WEIGHT_STRIDE TEAM_SCORES ROW_QUADS SLICE
//@needs SLICE_QUADS PIECE_CHUNKS QUERY_STRIDE operands grown query_word halves_scale $KEPT_WORDS
// Attention of many tokens of a sequence by matrices of a subgroup (tensor cores): tiles of queries
// against tiles of keys with a running softmax. Scores and results are sums in f32 of products of f16;
// the softmax is f32.
//
// halves [T · HEADS, D] f16 and halves_scale [T · HEADS]: queries after norm and RoPE; y [T, HEADS · V]
// Grid: tile of QUERIES tokens, the last ones first, as they see the most keys; head.
//
// Each team (subgroup) has TEAM_M queries and keeps them, and their results, as matrices. COLUMNS teams
// have the same queries, so that their registers hold wide heads: each makes the scores of its share of
// a tile's keys, and the results of its share of the dimensions. Keys and then values of a tile pass
// through workgroup memory, key by key. Scores do too, because nobody knows which invocation has which
// element of a matrix; PARTS invocations share the softmax of a query, and weights take the place of its
// scores. Weights are relative to a reference near the largest score so far: only where a score exceeds
// it by SLACK does it move, and results are scaled, which takes them through memory. So weights are up
// to exp(SLACK), far from what f16 can hold.
//
// A tile may hold tokens of several sequences: each run of one sequence is a pass of its own. Runs
// shorter than LONG_RUN are left to attention_decode when the step has several sequences.

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) place: u32,
) {
  let tile = (groups.x - 1u - group.x) * QUERIES;
  let head = group.y;
  let kv_head = head / GROUP;
  let tile_end = min(tile + QUERIES, step.x);
  let team = min(team_of(index, subgroup), TEAMS - 1u);
  let lane = lane_of(index, place);
  let rows = team / COLUMNS;
  let column = team % COLUMNS;
  // The softmax of this invocation: a part of the keys of one of its team's queries.
  let row = team * (TEAM_M / COLUMNS) + lane / PARTS;
  let part = lane % PARTS;
  let token = tile + row;
  let team_scores = SCORES + rows * TEAM_SCORES;
  let team_slice = team_scores + column * SLICE_QUADS;
  let row_scores = SCORES + row * SCORE_STRIDE;
  let scores_at = row_scores + part * (PART_WORDS * 2u);
  let weights_at = team_scores + row % TEAM_M * WEIGHT_STRIDE + part * PART_WORDS;

  //@repeat p PIECES
  workgroupBarrier();
  //@repeat i QUERY_LOADS
  {
    let query = (index + $i * INVOCATIONS) / PIECE_CHUNKS;
    let chunk = (index + $i * INVOCATIONS) % PIECE_CHUNKS;
    operands[query * QUERY_STRIDE + chunk] = query_word(tile + query, head, $p * PIECE_CHUNKS + chunk);
  }
  //@end
  workgroupBarrier();
  //@repeat m ROWS_F
  //@repeat d PIECE_F
  let query_$m_$p_$d = $LOAD_KEPT($OPERANDS rows * (TEAM_M * QUERY_STRIDE) + $m * MATRIX_M * QUERY_STRIDE + $d * (MATRIX_K / 8u), QUERY_STRIDE);
  //@end
  //@end
  //@end

  var tiles = 0u;
  var start = tile;
  loop {
    if (start >= tile_end) {
      break;
    }
    let run = run_from(start, tile_end);
    let span = span_of(run.sequence, run.first, run.last);
    if (in_long_run(start) && span.x <= span.y) {
      var reference = LOWEST;
      var total = 0.0;
      //@repeat m ROWS_F
      //@repeat s SLICES
      //@repeat n SLICE_F
      var sum_$m_$s_$n = Result();
      //@end
      //@end
      //@end
      // What the invocation's query sees here: positions from `begin` to `end` - 1, none outside the run.
      let in_run = token >= start && token < run.end;
      let known = min(token, step.x - 1u);
      let position = select(0u, u32(positions[known]), in_run);
      let end = select(0u, min(position, span.y) + 1u, in_run);
      let begin = first_seen(position);
      let scale = halves_scale[known * HEADS + head] * SCALE;
      //@repeat i LOADS
      let key_$i = (index + $i * INVOCATIONS) / CHUNKS;
      let chunk_$i = (index + $i * INVOCATIONS) % CHUNKS;
      let at_$i = key_$i * STRIDE + chunk_$i;
      var keys_$i = keys_fetch(cache_row(run.sequence, min(span.x + key_$i, span.y), kv_head), chunk_$i);
      //@end
      //@repeat i VALUE_LOADS
      let value_key_$i = (index + $i * INVOCATIONS) / VALUE_CHUNKS;
      let value_chunk_$i = (index + $i * INVOCATIONS) % VALUE_CHUNKS;
      let value_at_$i = value_key_$i * STRIDE + value_chunk_$i;
      var values_$i = values_Word();
      //@end

      for (var base = span.x; base <= span.y; base += KEYS) {
        tiles++;
        workgroupBarrier();
        //@repeat i LOADS
        operands[at_$i] = halves_of(keys_unpack(keys_$i, 0u));
        //@end
        workgroupBarrier();
        //@repeat i VALUE_LOADS
        values_$i = values_fetch(cache_row(run.sequence, min(base + value_key_$i, span.y), kv_head), value_chunk_$i);
        //@end
        //@repeat n SLICE_F
        {
          //@repeat m ROWS_F
          var score_$m = Result();
          //@end
          //@repeat p PIECES
          //@repeat d PIECE_F
          {
            let right = $LOAD_RIGHT($OPERANDS (column * SLICE + $n * MATRIX_N) * STRIDE + $p * PIECE_CHUNKS + $d * (MATRIX_K / 8u), STRIDE);
            //@repeat m ROWS_F
            score_$m = $MULTIPLY(query_$m_$p_$d, right, score_$m);
            //@end
          }
          //@end
          //@end
          //@repeat m ROWS_F
          $STORE($OPERANDS team_slice + $m * MATRIX_M * SCORE_STRIDE + $n * (MATRIX_N / 4u), score_$m, SCORE_STRIDE);
          //@end
        }
        //@end
        workgroupBarrier();
        //@repeat i VALUE_LOADS
        operands[value_at_$i] = halves_of(values_unpack(values_$i, 0u));
        //@end

        // The running softmax: scores nobody may see are LOWEST, and their weights zero below.
        var top = LOWEST;
        //@repeat w PART_WORDS
        //@repeat h 2
        let place_$w_$h = vec4(base + part * (KEYS / PARTS) + $w * 8u + $h * 4u) + vec4(0u, 1u, 2u, 3u);
        let seen_$w_$h = (place_$w_$h >= vec4(begin)) & (place_$w_$h < vec4(end));
        let raw_$w_$h = bitcast<vec4<f32>>(operands[scores_at + $w * 2u + $h]);
        let score_$w_$h = select(vec4(LOWEST), raw_$w_$h * scale, seen_$w_$h);
        let high_$w_$h = max(score_$w_$h.xy, score_$w_$h.zw);
        top = max(top, max(high_$w_$h.x, high_$w_$h.y));
        //@end
        //@end
        for (var reach = 1u; reach < PARTS; reach *= 2u) {
          top = max(top, subgroupShuffleXor(top, reach));
        }
        let moves = top > reference + SLACK;
        let factor = select(1.0, exp(reference - top), moves);
        total *= factor;
        reference = select(reference, top, moves);
        if (moves && base != span.x) {
          atomicMax(&grown, tiles);
        }
        if (workgroupUniformLoad(&grown) == tiles) {
          //@repeat s SLICES
          {
            //@repeat m ROWS_F
            //@repeat n SLICE_F
            $STORE($OPERANDS team_slice + $m * MATRIX_M * SCORE_STRIDE + $n * (MATRIX_N / 4u), sum_$m_$s_$n, SCORE_STRIDE);
            //@end
            //@end
            workgroupBarrier();
            for (var q = part; q < ROW_QUADS; q += PARTS) {
              let scaled = bitcast<vec4<f32>>(operands[row_scores + q]) * factor;
              operands[row_scores + q] = bitcast<vec4<u32>>(scaled);
            }
            workgroupBarrier();
            //@repeat m ROWS_F
            //@repeat n SLICE_F
            sum_$m_$s_$n = $LOAD_SUMS($OPERANDS team_slice + $m * MATRIX_M * SCORE_STRIDE + $n * (MATRIX_N / 4u), SCORE_STRIDE);
            //@end
            //@end
            workgroupBarrier();
          }
          //@end
        }
        //@repeat w PART_WORDS
        //@repeat h 2
        let weight_$w_$h = select(vec4<f32>(), exp(score_$w_$h - reference), seen_$w_$h);
        total += dot(weight_$w_$h, vec4(1.0));
        //@end
        operands[weights_at + $w] = halves_of(Chunk(weight_$w_0, weight_$w_1));
        //@end
        workgroupBarrier();
        if (base + KEYS <= span.y) {
          //@repeat i LOADS
          keys_$i = keys_fetch(cache_row(run.sequence, min(base + KEYS + key_$i, span.y), kv_head), chunk_$i);
          //@end
        }
        //@repeat k STEPS_F
        {
          //@repeat m ROWS_F
          let weights_$m = $LOAD_LEFT($OPERANDS team_scores + $m * MATRIX_M * WEIGHT_STRIDE + $k * (MATRIX_K / 8u), WEIGHT_STRIDE);
          //@end
          //@repeat s SLICES
          //@repeat n SLICE_F
          {
            let right = $LOAD_ROWS($OPERANDS $k * MATRIX_K * STRIDE + (column * (V / COLUMNS) + $s * SLICE + $n * MATRIX_N) / 8u, STRIDE);
            //@repeat m ROWS_F
            sum_$m_$s_$n = $MULTIPLY(weights_$m, right, sum_$m_$s_$n);
            //@end
          }
          //@end
          //@end
        }
        //@end
      }

      for (var reach = 1u; reach < PARTS; reach *= 2u) {
        total += subgroupShuffleXor(total, reach);
      }
      var shares = vec2<f32>();
      if (in_run) {
        shares = shares_of(token, head, reference, total, span.x == 0u, part == 0u);
      }
      //@repeat s SLICES
      {
        workgroupBarrier();
        //@repeat m ROWS_F
        //@repeat n SLICE_F
        $STORE($OPERANDS team_slice + $m * MATRIX_M * SCORE_STRIDE + $n * (MATRIX_N / 4u), sum_$m_$s_$n, SCORE_STRIDE);
        //@end
        //@end
        workgroupBarrier();
        if (in_run) {
          let at = ((token * HEADS + head) * V + $s * SLICE) / 4u;
          for (var q = part; q < ROW_QUADS; q += PARTS) {
            let place = q / SLICE_QUADS * (V / COLUMNS / 4u) + q % SLICE_QUADS;
            put_result(at + place, bitcast<vec4<f32>>(operands[row_scores + q]), shares);
          }
        }
      }
      //@end
      workgroupBarrier();
    }
    start = run.end;
  }
}
