//@fragment reduce/partials_none
//@gives store_partial load_partial take_ticket
// One workgroup does everything: there are no partial results.
fn store_partial(at: u32, value: f32) {
}

fn load_partial(at: u32) -> f32 {
  return 0.0;
}

fn take_ticket(i: u32, count: u32) -> u32 {
  return 0u;
}
