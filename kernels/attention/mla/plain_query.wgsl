//@fragment attention/mla/plain_query
//@needs INVOCATIONS HEADS N R query_at rotary_pair rotary_angle turned
//@gives store_query
// A query as keys of its head want it: its second part turned.
//
// turned [T, HEADS · (N + R)] f32
fn store_query(token: u32, head: u32, index: u32) {
  let at = (token * HEADS + head) * (N + R);
  for (var i = index; i < N; i += INVOCATIONS) {
    turned[at + i] = query_at(token, head, i);
  }
  for (var d = index; d < R; d += INVOCATIONS) {
    let pair = rotary_pair(d);
    let angle = rotary_angle(token, d);
    turned[at + N + d] = query_at(token, head, N + d) * angle.x +
      query_at(token, head, N + pair.other) * angle.y * pair.sign;
  }
}
