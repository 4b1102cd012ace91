//@fragment attention/cache_f16
//@needs $NAME D Chunk
//@gives $NAME_put
// Writing a cache of f16, bound as array<vec4<u32>>; `load_f16` reads it.
fn $NAME_put(row: u32, chunk: u32, value: Chunk) {
  $NAME[row * (D / 8u) + chunk] = vec4(
    pack2x16float(value.lo.xy),
    pack2x16float(value.lo.zw),
    pack2x16float(value.hi.xy),
    pack2x16float(value.hi.zw),
  );
}
