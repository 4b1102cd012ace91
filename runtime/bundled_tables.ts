/**
 * The tuned tables that come with Mixline. They are part of the module graph, as the library may run from
 * a registry, where there is no folder to read.
 *
 * @module
 */

import type { TunedText } from "../kernels/mod.ts";
import h100E128N768 from "../configs/tuned/NVIDIA_H100_80GB_HBM3_E128_N768.json" with {
  type: "text",
};
import h100E128N768Fp8 from "../configs/tuned/NVIDIA_H100_80GB_HBM3_E128_N768_dtype-fp8_w8a16.json" with {
  type: "text",
};
import h100E32N2880 from "../configs/tuned/NVIDIA_H100_80GB_HBM3_E32_N2880.json" with {
  type: "text",
};
import h100E32N2880Mxfp4 from "../configs/tuned/NVIDIA_H100_80GB_HBM3_E32_N2880_dtype-mxfp4_w4a16.json" with {
  type: "text",
};
import h100E64N1024 from "../configs/tuned/NVIDIA_H100_80GB_HBM3_E64_N1024.json" with {
  type: "text",
};
import h100E64N1408 from "../configs/tuned/NVIDIA_H100_80GB_HBM3_E64_N1408.json" with {
  type: "text",
};
import h100E8N14336 from "../configs/tuned/NVIDIA_H100_80GB_HBM3_E8_N14336.json" with {
  type: "text",
};

/** Texts by the names of their files in `configs/tuned`. */
const TABLES: Readonly<Record<string, string>> = {
  "NVIDIA_H100_80GB_HBM3_E128_N768.json": h100E128N768,
  "NVIDIA_H100_80GB_HBM3_E128_N768_dtype-fp8_w8a16.json": h100E128N768Fp8,
  "NVIDIA_H100_80GB_HBM3_E32_N2880.json": h100E32N2880,
  "NVIDIA_H100_80GB_HBM3_E32_N2880_dtype-mxfp4_w4a16.json": h100E32N2880Mxfp4,
  "NVIDIA_H100_80GB_HBM3_E64_N1024.json": h100E64N1024,
  "NVIDIA_H100_80GB_HBM3_E64_N1408.json": h100E64N1408,
  "NVIDIA_H100_80GB_HBM3_E8_N14336.json": h100E8N14336,
};

/**
 * The name in `configs/tuned` of a table that users call `E=64,N=1024,device_name=GPU[,dtype=..].json`:
 * `GPU_E64_N1024[_dtype-..].json`. Registries take no "=", "," and brackets in names of files.
 */
export function bundledName(fileName: string): string {
  const [, experts, intermediate, device, rest] =
    fileName.match(/^E=(\d+),N=(\d+),device_name=([^,]*)(.*)\.json$/) ?? [];
  const others = rest?.replaceAll("=", "-").replaceAll(",", "_").replaceAll(/[[\]]/g, "") ?? "";
  return `${device}_E${experts}_N${intermediate}${others}.json`;
}

/** A table that comes with Mixline, by the name that users give such a file. */
export function bundledTable(fileName: string): TunedText | undefined {
  const wanted = tableSpelling(bundledName(fileName));
  const name = Object.keys(TABLES).find((each) => tableSpelling(each) === wanted);
  return name === undefined ? undefined : { path: `configs/tuned/${name}`, text: TABLES[name] };
}

/**
 * A table's name without what providers of WebGPU differ in: one writes a GPU as `NVIDIA H100 80GB HBM3`,
 * another as `nvidia-h100-80gb-hbm3`.
 */
export function tableSpelling(name: string): string {
  return name.toLowerCase().replaceAll(/[-_]+/g, "_");
}
