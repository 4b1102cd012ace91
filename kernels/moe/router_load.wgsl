//@fragment moe/router_load
//@needs COLUMNS E THREADS Lanes set_logit load_partial
//@gives load_logits
// Brings the logits that other workgroups made into workgroup memory.
fn load_logits(first_column: u32, lanes: Lanes) {
  for (var i = lanes.index; i < COLUMNS * E; i += THREADS) {
    set_logit(i / E, i % E, load_partial(first_column * E + i));
  }
  workgroupBarrier();
}
