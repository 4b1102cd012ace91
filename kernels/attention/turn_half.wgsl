//@fragment attention/turn_half
//@needs ROTARY Chunk Invocation cosines sines
//@gives turned
// Rotate-half of a chunk in registers: element i turns with i + ROTARY / 2, which another lane has.
const REACH = ROTARY / 16u;

fn turned(x: Chunk, lane: u32, invocation: Invocation) -> Chunk {
  let is_low = lane < REACH;
  let partner = invocation.in_subgroup - lane + select(lane - REACH, lane + REACH, is_low);
  let lo = subgroupShuffle(x.lo, partner);
  let hi = subgroupShuffle(x.hi, partner);
  if (lane >= 2u * REACH) {
    return x;
  }
  let at = 2u * select(lane - REACH, lane, is_low);
  let sign = select(1.0, -1.0, is_low);
  return Chunk(
    x.lo * cosines[at] + lo * sines[at] * sign,
    x.hi * cosines[at + 1u] + hi * sines[at + 1u] * sign,
  );
}
