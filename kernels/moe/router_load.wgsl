//@fragment moe/router_load
//@needs COLUMNS E INVOCATIONS Invocation set_logit load_partial
//@gives load_logits
// Brings the logits that other workgroups made into workgroup memory.
fn load_logits(first_column: u32, invocation: Invocation) {
  for (var i = invocation.index; i < COLUMNS * E; i += INVOCATIONS) {
    set_logit(i / E, i % E, load_partial(first_column * E + i));
  }
  workgroupBarrier();
}
