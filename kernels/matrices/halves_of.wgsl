//@fragment matrices/halves_of
//@needs Chunk
//@gives halves_of
// Eight elements as halves, in the order of memory.
fn halves_of(chunk: Chunk) -> vec4<u32> {
  return vec4(
    pack2x16float(chunk.lo.xy), pack2x16float(chunk.lo.zw),
    pack2x16float(chunk.hi.xy), pack2x16float(chunk.hi.zw),
  );
}
