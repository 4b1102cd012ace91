//@fragment access/scales_e8m0_fours
//@needs $NAME_scale $NAME_WORDS $NAME_INTERLEAVED $NAME_SCALE_ROWS_TOGETHER
//@gives $NAME_Scales $NAME_Scale $NAME_scales_fetch $NAME_scales_at $NAME_scale_value
// The scale bytes of an interleaved word of MXFP4, one for each of its chunks, are a u32 that it shares
// with three other words. Of the words that are left behind those each has one byte, which stands for all
// its chunks. As rows of bytes need not end at whole u32, $NAME_SCALE_ROWS_TOGETHER rows have what is left
// of each behind all of them (order.ts).
//
// A byte is the exponent of an f32. Two are not: 0, which is the denormal 2^-127 and counts as 0 here, as a
// device may take denormals anyway; and 255, NaN, which makes the whole word NaN.
alias $NAME_Scales = u32;

alias $NAME_Scale = f32;

const $NAME_FOURS = $NAME_INTERLEAVED / 4u;
const $NAME_LEFT = $NAME_WORDS - $NAME_INTERLEAVED;

fn $NAME_scales_fetch(row: u32, word: u32) -> u32 {
  let group = row / $NAME_SCALE_ROWS_TOGETHER;
  let inside = row % $NAME_SCALE_ROWS_TOGETHER;
  let first = group * ($NAME_SCALE_ROWS_TOGETHER * $NAME_WORDS / 4u);
  if ($NAME_LEFT == 0u || word < $NAME_INTERLEAVED) {
    return $NAME_scale[first + inside * $NAME_FOURS + word / 4u];
  }
  let byte = inside * $NAME_LEFT + word - $NAME_INTERLEAVED;
  let bytes = $NAME_scale[first + $NAME_SCALE_ROWS_TOGETHER * $NAME_FOURS + byte / 4u];
  return ((bytes >> (byte % 4u * 8u)) & 255u) * 0x01010101u;
}

fn $NAME_scales_at(scales: u32, chunk: u32) -> f32 {
  let nan = ((scales & 0x7f7f7f7fu) + 0x01010101u) & scales & 0x80808080u;
  let exponent = extractBits(scales, chunk * 8u, 8u) << 23u;
  return bitcast<f32>(select(exponent, 0x7fc00000u, nan != 0u));
}

fn $NAME_scale_value(scale: f32) -> f32 {
  return scale;
}
