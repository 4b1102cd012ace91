//@fragment moe/algorithms/gate_up_experts
//@needs MAX_PAIRS LANES FIRST_EXPERT TOP_K ROWS MATRICES INTERMEDIATE COLUMNS OUTPUTS_PER_QUAD
//@needs QUADS step selected w_up_WORDS w_up_fetch x_round x_chunk w_up_CHUNKS w_up_unpack chunk_dot
//@needs w_up_place lane_sum input_factor_at act expert_activation b_up_at
// Up and gate projections with the activation, expert by expert: a workgroup makes ROWS outputs of
// one expert for every pair that chose it, up to COLUMNS at a time, so that a weight is read once
// however many tokens share it. A quad is four weight rows; for a gated expert its rows alternate
// up, gate. Grid: (rows, experts).

var<workgroup> members: array<u32, MAX_PAIRS>;
var<workgroup> member_count: atomic<u32>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let expert = FIRST_EXPERT + group.y;
  // The order of members does not matter: each one's result is computed by itself.
  for (var pair = index; pair < step.x * TOP_K; pair += LANES) {
    if (u32(selected[pair]) == expert) {
      members[atomicAdd(&member_count, 1u)] = pair;
    }
  }
  let count = workgroupUniformLoad(&member_count);
  let row = group.x * ROWS;
  let matrix = expert * (MATRICES * INTERMEDIATE);
  //@repeat q QUADS
  //@repeat c 4
  const VALUE_$q_$c = $q * 4u + $c;
  let row_$q_$c = matrix + (VALUE_$q_$c % MATRICES) * INTERMEDIATE
    + min(row + VALUE_$q_$c / MATRICES, INTERMEDIATE - 1u);
  //@end
  //@end
  for (var member = 0u; member < count; member += COLUMNS) {
    //@repeat n COLUMNS
    let pair_$n = members[min(member + $n, count - 1u)];
    let token_$n = pair_$n / TOP_K;
    //@repeat q QUADS
    var sum_$n_$q = vec4<f32>();
    //@end
    //@end
    for (var word = index; word < w_up_WORDS; word += LANES) {
      //@repeat q QUADS
      //@repeat c 4
      let w_$q_$c = w_up_fetch(row_$q_$c, word);
      //@end
      //@end
      //@repeat p w_up_CHUNKS
      //@repeat n COLUMNS
      let x_$p_$n = x_round(x_chunk(token_$n, w_up_place(word, $p)), expert);
      //@end
      //@repeat q QUADS
      {
        let w0 = w_up_unpack(w_$q_0, $p);
        let w1 = w_up_unpack(w_$q_1, $p);
        let w2 = w_up_unpack(w_$q_2, $p);
        let w3 = w_up_unpack(w_$q_3, $p);
        //@repeat n COLUMNS
        sum_$n_$q += vec4(
          chunk_dot(w0, x_$p_$n), chunk_dot(w1, x_$p_$n),
          chunk_dot(w2, x_$p_$n), chunk_dot(w3, x_$p_$n),
        );
        //@end
      }
      //@end
      //@end
    }
    //@repeat n COLUMNS
    {
      // Lane i finishes output row i.
      var first = 0.0;
      var second = 0.0;
      //@repeat q QUADS
      let total_$q = lane_sum(sum_$n_$q, index);
      //@repeat o OUTPUTS_PER_QUAD
      if (index == $q * OUTPUTS_PER_QUAD + $o) {
        first = total_$q[$o * MATRICES];
        second = total_$q[$o * MATRICES + MATRICES - 1u];
      }
      //@end
      //@end
      let column = row + index;
      if (index < ROWS && column < INTERMEDIATE && member + $n < count) {
        let factor = input_factor_at(pair_$n);
        act[pair_$n * INTERMEDIATE + column] = expert_activation(
          first * factor + b_up_at(matrix + column),
          second * factor + b_up_at(matrix + (MATRICES - 1u) * INTERMEDIATE + column),
        );
      }
    }
    //@end
  }
}
