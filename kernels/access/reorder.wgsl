//@fragment access/reorder
//@needs INVOCATIONS GROUPS GROUP_WORDS UNIT_BYTES UNITS PARTS COLUMNS ROWS ARRANGED data
// Puts rows of codes or scales into the interleaved order (order.ts), in place: a workgroup holds ROWS
// rows, and each of its invocations writes words of them as they are to be. Grid: groups of rows.
const ORDERED = PARTS * COLUMNS;
const LEFT = UNITS - ORDERED;
const UNIT_WORDS = max(UNIT_BYTES / 4u, 1u);

var<workgroup> rows: array<u32, GROUP_WORDS>;

// Where the unit is that belongs to a place.
fn source_of(place: u32) -> u32 {
  if (place < ROWS * ORDERED) {
    let within = place % ORDERED;
    return place / ORDERED * UNITS + within % PARTS * COLUMNS + within / PARTS;
  }
  let left = place - ROWS * ORDERED;
  return left / max(LEFT, 1u) * UNITS + ORDERED + left % max(LEFT, 1u);
}

fn byte_at(place: u32) -> u32 {
  let source = source_of(place);
  return (rows[source / 4u] >> (source % 4u * 8u)) & 255u;
}

fn word_at(at: u32) -> u32 {
  if (UNIT_BYTES == 1u) {
    let first = at * 4u;
    return byte_at(first) | (byte_at(first + 1u) << 8u) | (byte_at(first + 2u) << 16u) |
      (byte_at(first + 3u) << 24u);
  }
  return arranged(rows[source_of(at / UNIT_WORDS) * UNIT_WORDS + at % UNIT_WORDS]);
}

// Four codes in each half of a word, from the lowest nibble on: the sign of the first goes to bit 15 and its
// others to 11..9, those of the second to 7 and 3..1, of the third to 8 and 14..12, of the fourth to 0 and
// 6..4.
fn arranged(word: u32) -> u32 {
  if (!ARRANGED) {
    return word;
  }
  let first = ((word & 0x00080008u) << 12u) | ((word & 0x00070007u) << 9u);
  let second = (word & 0x00800080u) | ((word & 0x00700070u) >> 3u);
  let third = ((word & 0x08000800u) >> 3u) | ((word & 0x07000700u) << 4u);
  let fourth = ((word & 0x80008000u) >> 15u) | ((word & 0x70007000u) >> 8u);
  return first | second | third | fourth;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let at = group.x + group.y * groups.x;
  if (at >= GROUPS) {
    return;
  }
  let first = at * GROUP_WORDS;
  for (var i = index; i < GROUP_WORDS; i += INVOCATIONS) {
    rows[i] = data[first + i];
  }
  workgroupBarrier();
  for (var i = index; i < GROUP_WORDS; i += INVOCATIONS) {
    data[first + i] = word_at(i);
  }
}
