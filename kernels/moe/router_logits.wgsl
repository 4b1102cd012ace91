//@fragment moe/router_logits
//@needs E logits Invocation
//@gives put_logit finish_tile
// A router that leaves logits alone: the experts choose from them.
fn put_logit(first_column: u32, column: u32, expert: u32, logit: f32) {
  logits[(first_column + column) * E + expert] = logit;
}

fn finish_tile(tile: u32, first_column: u32, count: u32, invocation: Invocation) {
}
