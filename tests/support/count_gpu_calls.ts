/**
 * What a piece of work asks of the GPU: objects created, writes, submits.
 *
 * @module
 */

/** Calls by method name; methods that were not called are absent. */
export type GpuCalls = Readonly<Record<string, number>>;

/** Counts every `create...` of the device, and `writeBuffer` and `submit` of its queue. */
export async function countGpuCalls(body: () => Promise<void>): Promise<GpuCalls> {
  const calls: Record<string, number> = {};
  const creations = Object.getOwnPropertyNames(GPUDevice.prototype)
    .filter((name) => name.startsWith("create"))
    .map((name) => [GPUDevice.prototype, name] as const);
  const queue = ["writeBuffer", "submit"].map((name) => [GPUQueue.prototype, name] as const);
  const originals = [...creations, ...queue].map(([owner, name]) =>
    [owner, name, Reflect.get(owner, name)] as const
  );
  for (const [owner, name, original] of originals) {
    Reflect.set(owner, name, function (this: unknown, ...args: unknown[]) {
      calls[name] = (calls[name] ?? 0) + 1;
      return Reflect.apply(original, this, args);
    });
  }
  try {
    await body();
  } finally {
    for (const [owner, name, original] of originals) Reflect.set(owner, name, original);
  }
  return calls;
}
