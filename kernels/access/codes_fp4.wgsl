//@fragment access/codes_fp4
//@needs Chunk
//@gives $NAME_codes
// Eight FP4 E2M1 codes of a u32, low nibble first, as value / 16384: a code moved to the exponent
// and mantissa bits of an f16, denormals included.
fn $NAME_codes(word: u32) -> Chunk {
  let a = unpack2x16float(((word & 0x00070007u) << 9u) | ((word & 0x00080008u) << 12u));
  let w1 = word >> 4u;
  let b = unpack2x16float(((w1 & 0x00070007u) << 9u) | ((w1 & 0x00080008u) << 12u));
  let w2 = word >> 8u;
  let c = unpack2x16float(((w2 & 0x00070007u) << 9u) | ((w2 & 0x00080008u) << 12u));
  let w3 = word >> 12u;
  let d = unpack2x16float(((w3 & 0x00070007u) << 9u) | ((w3 & 0x00080008u) << 12u));
  return Chunk(vec4(a.x, b.x, c.x, d.x), vec4(a.y, b.y, c.y, d.y));
}
