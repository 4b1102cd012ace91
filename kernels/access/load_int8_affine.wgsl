//@fragment access/load_int8_affine
//@needs $NAME $NAME_FIRST_ROW $NAME_COLUMNS $NAME_Scale $NAME_scale_fetch Chunk $NAME_apply
//@needs $NAME_apply_dot
//@gives $NAME_Word $NAME_fetch $NAME_unpack $NAME_dot
// Weight rows of int8 with offsets, a multiple of 16 long, bound as array<vec4<u32>>; blocks of scales
// are a multiple of 16 columns wide.
struct $NAME_Word { codes: vec4<u32>, scale: $NAME_Scale }

fn $NAME_fetch(row: u32, word: u32) -> $NAME_Word {
  let codes = $NAME[(row - $NAME_FIRST_ROW) * ($NAME_COLUMNS / 16u) + word];
  return $NAME_Word(codes, $NAME_scale_fetch(row, word * 16u));
}

fn $NAME_raw(word: $NAME_Word, chunk: u32) -> Chunk {
  let pair = select(word.codes.zw, word.codes.xy, chunk == 0u);
  return Chunk(vec4<f32>(unpack4xI8(pair.x)), vec4<f32>(unpack4xI8(pair.y)));
}

fn $NAME_unpack(word: $NAME_Word, chunk: u32) -> Chunk {
  return $NAME_apply($NAME_raw(word, chunk), word.scale);
}

fn $NAME_dot(word: $NAME_Word, chunk: u32, x: Chunk) -> f32 {
  return $NAME_apply_dot($NAME_raw(word, chunk), word.scale, x);
}
