//@fragment moe/router_hand_over
//@needs E SHARES TICKET Invocation set_logit store_partial take_ticket load_logits choose
//@gives put_logit finish_tile
// A router that chooses: the last workgroup of a tile to arrive has the logits of all of them. With
// one workgroup to a tile there is nothing to hand over.
var<workgroup> arrived: u32;

fn put_logit(first_column: u32, column: u32, expert: u32, logit: f32) {
  if (SHARES == 1u) {
    set_logit(column, expert, logit);
  } else {
    store_partial((first_column + column) * E + expert, logit);
  }
}

fn finish_tile(tile: u32, first_column: u32, count: u32, invocation: Invocation) {
  if (SHARES > 1u) {
    if (!TICKET) {
      return;
    }
    storageBarrier();
    if (invocation.index == 0u) {
      arrived = take_ticket(tile, SHARES);
    }
    if (workgroupUniformLoad(&arrived) + 1u < SHARES) {
      return;
    }
    storageBarrier();
    load_logits(first_column, invocation);
  }
  choose(first_column, count, invocation);
}
