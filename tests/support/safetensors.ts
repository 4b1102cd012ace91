/**
 * A safetensors file read whole, without the product's reader, which is under test elsewhere.
 *
 * @module
 */

import { type DType, type HostTensor, viewBytes } from "../../graph/mod.ts";

const DTYPES: Readonly<Record<string, DType>> = {
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  F8_E4M3: "f8_e4m3",
  U8: "u8",
  I32: "i32",
  I64: "i64",
};

/** The tensors of a file by name. */
export async function readSafetensors(file: URL): Promise<ReadonlyMap<string, HostTensor>> {
  const bytes = await Deno.readFile(file);
  const headerLength = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: number[] }> = JSON
    .parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength)));
  const tensors = new Map<string, HostTensor>();
  for (const [name, { dtype, shape, data_offsets: [start, end] = [] }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const data = bytes.slice(8 + headerLength + start, 8 + headerLength + end);
    tensors.set(name, { dtype: DTYPES[dtype], shape, data: viewBytes(DTYPES[dtype], data) });
  }
  return tensors;
}
