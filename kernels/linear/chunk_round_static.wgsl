//@fragment linear/chunk_round_static
//@needs $NAME_SCALE_STRIDE Chunk $NAME_scale round_e4m3
//@gives $NAME_round
// Activations in front of an expert's product, rounded with its scale or with the one of all.
fn $NAME_round(value: Chunk, expert: u32) -> Chunk {
  let scale = $NAME_scale[expert * $NAME_SCALE_STRIDE];
  return Chunk(
    vec4(
      round_e4m3(value.lo.x, scale), round_e4m3(value.lo.y, scale),
      round_e4m3(value.lo.z, scale), round_e4m3(value.lo.w, scale),
    ),
    vec4(
      round_e4m3(value.hi.x, scale), round_e4m3(value.hi.y, scale),
      round_e4m3(value.hi.z, scale), round_e4m3(value.hi.w, scale),
    ),
  );
}
