/**
 * The dispatches that put a weight into the interleaved order (`order.ts`).
 *
 * @module
 */

import { composeDispatch } from "../dispatch.ts";
import { type DeviceProfile, type Dispatch, foldGrid, type WordOrder } from "../kernel.ts";
import { constants, writes } from "./access.ts";
import { groupBytes } from "./order.ts";
import reorderBody from "./reorder.wgsl" with { type: "text" };

/** Invocations that order a row. */
const INVOCATIONS = 64;

/**
 * The dispatches that put a weight of so many bytes into an order, in place: what they bind is the weight.
 * There is one for each part that a binding can hold.
 */
export function reorderDispatches(
  bytes: number,
  order: WordOrder,
  { maxBindingBytes, maxWorkgroupsPerDimension }: DeviceProfile,
): readonly Dispatch[] {
  const size = groupBytes(order);
  let unit = 1;
  while ((unit * size) % 256 !== 0) unit *= 2;
  const groups = Math.floor(bytes / size);
  const most = Math.min(groups, Math.floor(maxBindingBytes / size / unit) * unit);
  return Array.from({ length: Math.ceil(groups / most) }, (_, i) => {
    const count = Math.min(most, groups - i * most);
    const data = writes("data", "u32", { kind: "scratch", name: "weight", bytes });
    const range = { offset: i * most * size, bytes: count * size };
    const [x, y] = foldGrid(count, maxWorkgroupsPerDimension);
    return composeDispatch({
      kernel: "reorder_weight",
      accesses: [
        { ...data, buffers: data.buffers.map((buffer) => ({ ...buffer, range })) },
        constants({
          INVOCATIONS,
          GROUPS: count,
          GROUP_WORDS: size / 4,
          UNIT_BYTES: order.unitBytes,
          UNITS: order.units,
          PARTS: order.parts,
          COLUMNS: order.columns,
          ROWS: order.rows,
          ARRANGED: order.arranged ?? false,
        }),
      ],
      body: reorderBody,
      workgroups: () => [x, y, 1],
    });
  });
}
