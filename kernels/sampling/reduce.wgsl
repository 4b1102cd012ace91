//@fragment sampling/reduce
//@needs THREADS
//@gives Best tree_values best_of is_better sum_of
// Maxima and sums over the threads of a workgroup, by trees: the same order in every run.

struct Best { value: f32, id: u32 }

var<workgroup> tree_values: array<f32, THREADS>;
var<workgroup> tree_ids: array<u32, THREADS>;

// The largest value; of equal ones the lowest id.
fn best_of(value: f32, id: u32, thread: u32) -> Best {
  tree_values[thread] = value;
  tree_ids[thread] = id;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half >>= 1u) {
    if (thread < half) {
      let other = Best(tree_values[thread + half], tree_ids[thread + half]);
      if (is_better(other, Best(tree_values[thread], tree_ids[thread]))) {
        tree_values[thread] = other.value;
        tree_ids[thread] = other.id;
      }
    }
    workgroupBarrier();
  }
  let best = Best(tree_values[0], tree_ids[0]);
  workgroupBarrier();
  return best;
}

fn is_better(a: Best, b: Best) -> bool {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

fn sum_of(value: f32, thread: u32) -> f32 {
  tree_values[thread] = value;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half >>= 1u) {
    if (thread < half) {
      tree_values[thread] += tree_values[thread + half];
    }
    workgroupBarrier();
  }
  let sum = tree_values[0];
  workgroupBarrier();
  return sum;
}
