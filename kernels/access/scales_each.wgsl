//@fragment access/scales_each
//@needs $NAME_CHUNKS $NAME_Scale $NAME_scale_fetch $NAME_place
//@gives $NAME_Scales $NAME_scales_fetch $NAME_scales_at
// The scales of an interleaved word, one for each of its chunks, from where the checkpoint has them.
struct $NAME_Scales {
  //@repeat p $NAME_CHUNKS
  of_$p: $NAME_Scale,
  //@end
}

fn $NAME_scales_fetch(row: u32, word: u32) -> $NAME_Scales {
  return $NAME_Scales(
    //@repeat p $NAME_CHUNKS
    $NAME_scale_fetch(row, $NAME_place(word, $p) * 8u),
    //@end
  );
}

fn $NAME_scales_at(scales: $NAME_Scales, chunk: u32) -> $NAME_Scale {
  //@repeat p $NAME_CHUNKS
  if (chunk == $p) {
    return scales.of_$p;
  }
  //@end
  return scales.of_0;
}
