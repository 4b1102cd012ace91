import assert from "node:assert/strict";
import { concat, elementCount, reshape, stack, tensor, tensorNames } from "../../../graph/mod.ts";
import { loadWeight } from "../../../models/loading/materialize.ts";
import { weightPortion } from "../../../models/loading/weight_portion.ts";

const tensorOf = (name: string) => tensor(name, "f32", [2, 3]);
/** Element i of tensor "k" is 100 k + i. */
const source = {
  read: (name: string, at: number, length: number) =>
    Promise.resolve(
      new Uint8Array(
        Float32Array.from({ length: 6 }, (_, i) => 100 * Number(name) + i).buffer,
        at,
        length,
      ),
    ),
};

Deno.test("weightPortion() has the elements of a range, and no tensors beside those", async () => {
  const pairs = [0, 2, 4].map((i) => concat([tensorOf(String(i)), tensorOf(String(i + 1))]));
  const weights = [
    stack(pairs),
    reshape(stack(pairs), [36]),
    concat(pairs, 0),
    concat([tensorOf("0"), tensorOf("1")], 1),
    tensorOf("5"),
  ];
  for (const weight of weights) {
    const total = elementCount(weight.shape);
    const whole = (await loadWeight(weight, source)).data;
    for (const [first, count] of [[0, total], [0, 1], [total - 1, 1], [5, 2], [3, total - 5]]) {
      if (first + count > total) continue;
      const { weight: portion, start } = weightPortion(weight, first, count);
      const { data } = await loadWeight(portion, source);
      assert.deepEqual(
        data.slice(first - start, first - start + count),
        whole.slice(first, first + count),
      );
    }
  }
  const names = (first: number, count: number) =>
    [...tensorNames(weightPortion(weights[1], first, count).weight)].join();
  assert.equal(names(6, 6), "1");
  assert.equal(names(11, 2), "0,1,2,3");
});
