//@fragment access/codes_fp4
//@needs Chunk
//@gives $NAME_codes $NAME_UNIT
// Eight FP4 E2M1 codes of a u32, low nibble first, as value / $NAME_UNIT: a code moved to the exponent
// and mantissa bits of an f16, denormals included.
const $NAME_UNIT = 16384.0;

fn $NAME_codes(word: u32) -> Chunk {
  let a = unpack2x16float(((word << 9u) & 0x0e000e00u) | ((word << 12u) & 0x80008000u));
  let b = unpack2x16float(((word << 5u) & 0x0e000e00u) | ((word << 8u) & 0x80008000u));
  let c = unpack2x16float(((word << 1u) & 0x0e000e00u) | ((word << 4u) & 0x80008000u));
  let d = unpack2x16float(((word >> 3u) & 0x0e000e00u) | (word & 0x80008000u));
  return Chunk(vec4(a.x, b.x, c.x, d.x), vec4(a.y, b.y, c.y, d.y));
}
