//@fragment sampling/reduce
//@needs INVOCATIONS
//@gives Best tree_values best_of is_better sum_of
// Maxima and sums over the invocations of a workgroup, by trees: the same order in every run.

struct Best { value: f32, id: u32 }

var<workgroup> tree_values: array<f32, INVOCATIONS>;
var<workgroup> tree_bests: array<Best, INVOCATIONS>;

// The largest value; of equal ones the lowest id. Results of these functions are uniform, so that
// shaders may branch on them around barriers.
fn best_of(value: f32, id: u32, index: u32) -> Best {
  tree_bests[index] = Best(value, id);
  for (var half = INVOCATIONS / 2u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (index < half) {
      let other = tree_bests[index + half];
      if (is_better(other, tree_bests[index])) {
        tree_bests[index] = other;
      }
    }
  }
  return workgroupUniformLoad(&tree_bests[0]);
}

fn is_better(a: Best, b: Best) -> bool {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

fn sum_of(value: f32, index: u32) -> f32 {
  tree_values[index] = value;
  for (var half = INVOCATIONS / 2u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (index < half) {
      tree_values[index] += tree_values[index + half];
    }
  }
  return workgroupUniformLoad(&tree_values[0]);
}
