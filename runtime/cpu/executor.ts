/**
 * The executor that runs programs on the CPU: the reference for tests, and the fallback on machines
 * without a GPU.
 *
 * @module
 */

import type { Graph } from "../../graph/mod.ts";
import type { CompileOptions, Executor, Program } from "../executor.ts";
import { CpuProgram } from "./program.ts";

/** Options of {@linkcode openCpuExecutor}. */
export interface CpuExecutorOptions {
  /** Why the CPU was taken, such as `no WebGPU adapter`; part of the description. */
  readonly reason?: string;
}

/** Runs programs in this thread. */
export class CpuExecutor implements Executor {
  readonly kind = "cpu";
  readonly description: string;
  readonly #programs = new Set<Program>();

  constructor({ reason }: CpuExecutorOptions = {}) {
    this.description = reason === undefined
      ? "CPU, one thread, f32"
      : `CPU, one thread, f32 (${reason})`;
  }

  async compile(graph: Graph, options: CompileOptions): Promise<Program> {
    const forget = (program: Program) => this.#programs.delete(program);
    const program = await CpuProgram.compile(graph, options, forget);
    this.#programs.add(program);
    return program;
  }

  dispose(): void {
    for (const program of this.#programs) program.dispose();
  }
}

/**
 * Opens the CPU.
 *
 * @example
 * ```ts
 * import { Graph, GraphBuilder } from "../../graph/mod.ts";
 * import { openCpuExecutor } from "./executor.ts";
 * const b = new GraphBuilder(new Graph("tiny"));
 * b.graph.setOutput("y", b.op("relu", { x: b.input("x", { dtype: "f32", shape: ["T"] }) }));
 * const executor = openCpuExecutor();
 * const program = await executor.compile(b.graph, {
 *   source: { read: () => Promise.reject(new Error("the graph has no weights")) },
 *   ...{ maxTokens: 8, maxSequences: 1, pages: 0, maxPagesPerSequence: 1 },
 * });
 * const { y } = await program.run({ x: Float32Array.of(-1, 2) }, { T: 2 });
 * console.assert(String(y) === "0,2");
 * executor.dispose();
 * ```
 */
export function openCpuExecutor(options?: CpuExecutorOptions): CpuExecutor {
  return new CpuExecutor(options);
}
