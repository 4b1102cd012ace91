//@fragment sampling/reduce
//@needs THREADS
//@gives Best tree_values best_of is_better sum_of
// Maxima and sums over the threads of a workgroup, by trees: the same order in every run.

struct Best { value: f32, id: u32 }

var<workgroup> tree_values: array<f32, THREADS>;
var<workgroup> tree_bests: array<Best, THREADS>;

// The largest value; of equal ones the lowest id. Results of these functions are uniform, so that
// shaders may branch on them around barriers.
fn best_of(value: f32, id: u32, thread: u32) -> Best {
  tree_bests[thread] = Best(value, id);
  for (var half = THREADS / 2u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (thread < half) {
      let other = tree_bests[thread + half];
      if (is_better(other, tree_bests[thread])) {
        tree_bests[thread] = other;
      }
    }
  }
  return workgroupUniformLoad(&tree_bests[0]);
}

fn is_better(a: Best, b: Best) -> bool {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

fn sum_of(value: f32, thread: u32) -> f32 {
  tree_values[thread] = value;
  for (var half = THREADS / 2u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (thread < half) {
      tree_values[thread] += tree_values[thread + half];
    }
  }
  return workgroupUniformLoad(&tree_values[0]);
}
