//@fragment sampling/sample
//@needs INVOCATIONS CHUNK V LOWEST CHUNK_CANDIDATES TICKET CHUNKS PER logits draws logits_rows
//@needs positions Best penalized is_broken is_better best_of store_record is_greedy tempered
//@needs is_filtered sum_of candidate_at partials gumbel take_ticket decide StepToken
// Draws the next token of every row, on the device.
//
// logits [R, V] f32; draws [R] Draw; logits_rows [R]: the token of the step that a row belongs to;
// positions, token_ids [T]; seen [slots, SEEN_WORDS] bits; history [steps, R]; counter [1]
// Grid: chunk of the vocabulary, row.
//
// A workgroup holds CHUNK logits in registers: INVOCATIONS invocations with PER each. It hands over
// the chunk's largest logit; without filters also its winner under Gumbel noise; with filters the
// chunk's mass, its largest CHUNK_CANDIDATES logits and its floor, the largest one left out. The
// last workgroup of a row decides. The last of all counts the step.
//
// A row whose largest logit is not finite gets -1.

var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> cut: u32;
var<workgroup> taken: atomic<u32>;
var<workgroup> broken: atomic<u32>;
var<workgroup> arrived: u32;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let row = group.y;
  let chunk = group.x;
  // All logits are asked for before any of them, or the rest, is awaited.
  //@repeat i PER
  let id_$i = chunk * CHUNK + $i * INVOCATIONS + index;
  let raw_$i = logits[row * V + min(id_$i, V - 1u)];
  //@end
  let draw = draws[row];
  let token = u32(logits_rows[row]);
  let position = u32(positions[token]);
  var best = Best(LOWEST, 0xffffffffu);
  //@repeat i PER
  var logit_$i = LOWEST;
  if (id_$i < V) {
    logit_$i = penalized(raw_$i, id_$i, draw);
    if (is_broken(raw_$i)) {
      atomicStore(&broken, 1u);
    }
    if (is_better(Best(logit_$i, id_$i), best)) {
      best = Best(logit_$i, id_$i);
    }
  }
  //@end
  best = best_of(best.value, best.id, index);
  if (index == 0u) {
    store_record(row, chunk, 0u, bitcast<u32>(best.value));
    store_record(row, chunk, 1u, best.id);
    store_record(row, chunk, 7u, atomicLoad(&broken));
  }
  if (!is_greedy(draw)) {
    //@repeat i PER
    logit_$i = tempered(logit_$i, draw);
    //@end
    if (is_filtered(draw)) {
      let peak = tempered(best.value, draw);
      var mass = 0.0;
      //@repeat i PER
      let bin_$i = u32(min((peak - logit_$i) * 8.0, 255.0));
      if (id_$i < V) {
        mass += exp(logit_$i - peak);
        atomicAdd(&bins[bin_$i], 1u);
      }
      //@end
      mass = sum_of(mass, index);
      let kept_bins = bins_that_fit(index);
      var floor = LOWEST;
      //@repeat i PER
      if (id_$i < V) {
        if (bin_$i < kept_bins) {
          let at = candidate_at(row, chunk * CHUNK_CANDIDATES + atomicAdd(&taken, 1u));
          atomicStore(&partials[at], bitcast<u32>(logit_$i));
          atomicStore(&partials[at + 1u], id_$i);
        } else {
          floor = max(floor, logit_$i);
        }
      }
      //@end
      floor = best_of(floor, 0u, index).value;
      if (index == 0u) {
        store_record(row, chunk, 4u, bitcast<u32>(mass));
        store_record(row, chunk, 5u, bitcast<u32>(floor));
        store_record(row, chunk, 6u, atomicLoad(&taken));
      }
    } else {
      var winner = Best(LOWEST, 0xffffffffu);
      //@repeat i PER
      if (id_$i < V) {
        let score = Best(logit_$i + gumbel(draw, position, id_$i), id_$i);
        if (is_better(score, winner)) {
          winner = score;
        }
      }
      //@end
      winner = best_of(winner.value, winner.id, index);
      if (index == 0u) {
        store_record(row, chunk, 2u, bitcast<u32>(winner.value));
        store_record(row, chunk, 3u, winner.id);
      }
    }
  }
  if (!TICKET) {
    return;
  }
  storageBarrier();
  if (index == 0u) {
    arrived = take_ticket(row, CHUNKS);
  }
  if (workgroupUniformLoad(&arrived) + 1u < CHUNKS) {
    return;
  }
  storageBarrier();
  decide(row, draw, StepToken(token, position), index);
}

// How many bins, from the largest logits down, hold no more than CHUNK_CANDIDATES of them.
fn bins_that_fit(index: u32) -> u32 {
  var sum = 0u;
  workgroupBarrier();
  if (index == 0u) {
    var fitting = 0u;
    for (var bin = 0u; bin < 256u; bin++) {
      sum += atomicLoad(&bins[bin]);
      if (sum > CHUNK_CANDIDATES) {
        break;
      }
      fitting = bin + 1u;
    }
    cut = fitting;
  }
  return workgroupUniformLoad(&cut);
}
