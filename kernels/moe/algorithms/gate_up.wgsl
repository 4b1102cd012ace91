//@fragment moe/algorithms/gate_up
//@needs INVOCATIONS TOP_K LANES GROUPS ROWS MATRICES INTERMEDIATE OUTPUTS_PER_QUAD QUADS WIDTH PASSES
//@needs is_idle expert_of FIRST_WORD_$i END_WORD_$i UNROLL_$i ENDS_$i w_up_fetch x_round x_chunk
//@needs w_up_CHUNKS w_up_place w_up_dot lane_sum input_factor_at act
//@needs expert_activation b_up_at
// Up and gate projections with the activation, slot by slot: a workgroup makes GROUPS · ROWS
// outputs of one (token, slot). LANES invocations share a row; a quad is WIDTH weight rows (four, or two of
// the only one), and for a gated expert its rows alternate up, gate, up, gate. Grid: (rows, slots, tokens).

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.z;
  let pair = token * TOP_K + group.y;
  if (is_idle(group, index)) {
    return;
  }
  let expert = expert_of(group, index);
  let lane = index % LANES;
  let row = (group.x * GROUPS + index / LANES) * ROWS;
  let matrix = expert * (MATRICES * INTERMEDIATE);
  //@repeat q QUADS
  //@repeat c 4
  var sum_$q_$c = 0.0;
  //@end
  //@repeat c WIDTH
  const VALUE_$q_$c = $q * 4u + $c;
  let row_$q_$c = matrix + (VALUE_$q_$c % MATRICES) * INTERMEDIATE
    + min(row + VALUE_$q_$c / MATRICES, INTERMEDIATE - 1u);
  //@end
  //@end
  // UNROLL words of a row in flight, then what is left of it at once, where not all lanes have a last word.
  //@repeat z PASSES
  for (var base = FIRST_WORD_$z + lane; base < END_WORD_$z; base += LANES * UNROLL_$z) {
    //@repeat u UNROLL_$z
    let word_$u = base + $u * LANES;
    let at_$u = select(word_$u, min(word_$u, END_WORD_$z - 1u), ENDS_$z);
    //@repeat q QUADS
    //@repeat c WIDTH
    let w_$u_$q_$c = w_up_fetch(row_$q_$c, at_$u);
    //@end
    //@end
    //@end
    //@repeat u UNROLL_$z
    if (!ENDS_$z || word_$u < END_WORD_$z) {
      //@repeat p w_up_CHUNKS
      let x_$p = x_round(x_chunk(token, w_up_place(word_$u, $p)), expert);
      //@repeat q QUADS
      //@repeat c WIDTH
      sum_$q_$c += w_up_dot(w_$u_$q_$c, $p, x_$p);
      //@end
      //@end
      //@end
    }
    //@end
  }
  //@end
  // Lane i finishes output row i.
  var first = 0.0;
  var second = 0.0;
  //@repeat q QUADS
  let total_$q = lane_sum(vec4(sum_$q_0, sum_$q_1, sum_$q_2, sum_$q_3), index);
  //@repeat o OUTPUTS_PER_QUAD
  if (lane == $q * OUTPUTS_PER_QUAD + $o) {
    first = total_$q[$o * MATRICES];
    second = total_$q[$o * MATRICES + MATRICES - 1u];
  }
  //@end
  //@end
  let column = row + lane;
  if (lane < ROWS && column < INTERMEDIATE) {
    let factor = input_factor_at(pair);
    act[pair * INTERMEDIATE + column] = expert_activation(
      first * factor + b_up_at(matrix + column),
      second * factor + b_up_at(matrix + (MATRICES - 1u) * INTERMEDIATE + column),
    );
  }
}
