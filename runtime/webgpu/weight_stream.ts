import {
  CheckpointError,
  DTYPE_BYTES,
  elementCount,
  type TensorSource,
  type Weight,
} from "../../graph/mod.ts";

export async function* streamChunks(
  weight: Weight,
  source: TensorSource,
): AsyncGenerator<{ offset: number; bytes: Uint8Array<ArrayBuffer> }> {
  const total = elementCount(weight.shape) * DTYPE_BYTES[weight.dtype];
  if (weight.kind === "constant") {
    yield { offset: 0, bytes: new Uint8Array(weight.data.slice().buffer) };
    return;
  }
  if (weight.kind !== "tensor") {
    throw new CheckpointError("checkpoint/x", `Cannot stream ${weight.kind}`);
  }
  for (let offset = 0; offset < total; offset += 64 * 2 ** 20) {
    yield {
      offset,
      bytes: await source.read(weight.name, offset, Math.min(64 * 2 ** 20, total - offset)),
    };
  }
}
