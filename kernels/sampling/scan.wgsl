//@fragment sampling/scan
//@needs V INVOCATIONS LOWEST Draw tempered penalized logits has_top_k Best gumbel is_better best_of
//@gives draw_by_scan
// The sure way to draw under filters, for flat distributions whose threshold lies deep: radix
// selection of the threshold over all logits of the row, eight bits a pass. Masses are added as
// 64-bit integers in two words, so their sums do not depend on who comes first.

var<workgroup> bin_counts: array<atomic<u32>, 256>;
var<workgroup> bin_low: array<atomic<u32>, 256>;
var<workgroup> bin_high: array<atomic<u32>, 256>;
var<workgroup> chosen_bin: u32;
var<workgroup> remaining: f32;

// Unsigned numbers in the order of the floats.
fn order_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value + 0.0);
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn value_of(order: u32) -> f32 {
  return bitcast<f32>(select(~order, order & 0x7fffffffu, (order >> 31u) == 1u));
}

fn logit_of(row: u32, id: u32, draw: Draw) -> f32 {
  return tempered(penalized(logits[row * V + id], id, draw), draw);
}

// The largest value at which what is at least as large, and at least `least`, reaches `goal`:
// counted, or with `by_mass` weighed. A goal of masses is a fraction of their sum.
fn select_threshold(
  row: u32,
  draw: Draw,
  peak: f32,
  least: f32,
  goal: f32,
  by_mass: bool,
  index: u32,
) -> f32 {
  var prefix = 0u;
  var mask = 0u;
  if (index == 0u) {
    remaining = goal;
  }
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - 8u * digit;
    for (var bin = index; bin < 256u; bin += INVOCATIONS) {
      atomicStore(&bin_counts[bin], 0u);
      atomicStore(&bin_low[bin], 0u);
      atomicStore(&bin_high[bin], 0u);
    }
    workgroupBarrier();
    for (var id = index; id < V; id += INVOCATIONS) {
      let value = logit_of(row, id, draw);
      let order = order_of(value);
      if (value >= least && (order & mask) == prefix) {
        let bin = (order >> shift) & 255u;
        if (by_mass) {
          let mass = u32(exp(value - peak) * 2147483648.0);
          if (atomicAdd(&bin_low[bin], mass) > 0xffffffffu - mass) {
            atomicAdd(&bin_high[bin], 1u);
          }
        } else {
          atomicAdd(&bin_counts[bin], 1u);
        }
      }
    }
    workgroupBarrier();
    if (index == 0u) {
      choose_bin(digit == 0u && by_mass, by_mass);
    }
    prefix |= workgroupUniformLoad(&chosen_bin) << shift;
    mask |= 255u << shift;
  }
  return value_of(prefix);
}

fn bin_weight(bin: u32, by_mass: bool) -> f32 {
  if (by_mass) {
    return (f32(atomicLoad(&bin_high[bin])) * 4294967296.0 + f32(atomicLoad(&bin_low[bin]))) /
      2147483648.0;
  }
  return f32(atomicLoad(&bin_counts[bin]));
}

// Walks the bins from the largest values down to the one in which the goal is reached.
fn choose_bin(is_fraction: bool, by_mass: bool) {
  if (is_fraction) {
    var total = 0.0;
    for (var bin = 0u; bin < 256u; bin++) {
      total += bin_weight(bin, by_mass);
    }
    remaining *= total;
  }
  var left = remaining;
  var chosen = 0u;
  for (var bin = 256u; bin > 0u; bin--) {
    let weight = bin_weight(bin - 1u, by_mass);
    if (weight > 0.0) {
      chosen = bin - 1u;
      if (weight >= left) {
        break;
      }
      left -= weight;
    }
  }
  chosen_bin = chosen;
  remaining = left;
}

fn draw_by_scan(row: u32, draw: Draw, position: u32, peak: f32, index: u32) -> u32 {
  var least = LOWEST;
  for (var phase = 0u; phase < 2u; phase++) {
    let by_mass = phase == 1u;
    if (select(has_top_k(draw), draw.top_p < 1.0, by_mass)) {
      let goal = select(f32(draw.top_k), draw.top_p, by_mass);
      least = max(least, select_threshold(row, draw, peak, least, goal, by_mass, index));
    }
  }
  var best = Best(LOWEST, 0xffffffffu);
  for (var id = index; id < V; id += INVOCATIONS) {
    let value = logit_of(row, id, draw);
    // The largest stays whatever min-p says.
    if (value >= least && (value == peak || exp(value - peak) >= draw.min_p)) {
      let score = Best(value + gumbel(draw, position, id), id);
      if (is_better(score, best)) {
        best = score;
      }
    }
  }
  return best_of(best.value, best.id, index).id;
}
