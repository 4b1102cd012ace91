//@fragment reduce/partials_dispatch
//@needs partials
//@gives store_partial load_partial take_ticket
// Partial results that a second dispatch combines.
fn store_partial(at: u32, value: f32) {
  partials[at] = value;
}

fn load_partial(at: u32) -> f32 {
  return partials[at];
}

fn take_ticket(i: u32, count: u32) -> u32 {
  return 0u;
}
