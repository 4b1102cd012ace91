/**
 * The dispatch lists of a program, one for each range of step sizes, made ready when first needed.
 *
 * @module
 */

import { invariant } from "../../graph/mod.ts";
import { type Command, prepareCommands } from "./device/command_list.ts";
import type { LoweredDispatch, LoweredGraph } from "./plan/lower.ts";
import type { ProgramMemory } from "./memory.ts";
import {
  type ChoiceReport,
  type ListReport,
  reportChoices,
  reportList,
} from "./plan/plan_report.ts";
import type { ProgramContext } from "./program_context.ts";

/** A list that is ready to encode. */
export interface StepList {
  readonly lowered: LoweredGraph;
  readonly commands: readonly Command[];
  /** Sampling: runs after the commands in a step that wants tokens. */
  readonly sampling: readonly Command[];
  outputBuffer(name: string): GPUBuffer;
  /** Makes further dispatches of this list ready. */
  prepare(sources: readonly LoweredDispatch[]): Promise<readonly Command[]>;
}

/** Facts of all lists. */
export interface ListsReport {
  readonly weightBytesPerToken: number;
  /** The smallest steps and the largest of any kind. */
  readonly dispatches: { readonly decode: ListReport; readonly prefill: ListReport };
  readonly lists: readonly ListReport[];
  readonly choices: readonly ChoiceReport[];
}

/** Lists by step size. */
export class StepLists {
  #report: ListsReport | undefined;
  readonly #ready = new Map<LoweredGraph, Promise<StepList>>();

  constructor(
    readonly context: Pick<ProgramContext, "device" | "pipelines">,
    readonly lowered: readonly LoweredGraph[],
    readonly memory: ProgramMemory,
  ) {}

  /** The list for a step of this many tokens; `single` when each has a sequence of its own. */
  forStep(tokens: number, single: boolean): Promise<StepList> {
    const takes = ({ tokens: { min, max } }: LoweredGraph) => min <= tokens && tokens <= max;
    const lists = this.lowered.filter(takes);
    const lowered = lists.find(({ tokens }) => single && tokens.single) ??
      lists.find(({ tokens }) => !tokens.single);
    invariant(lowered, `no dispatch list for ${tokens} tokens`);
    return this.ready(lowered);
  }

  /** One of the lists, made ready. */
  ready(lowered: LoweredGraph): Promise<StepList> {
    const known = this.#ready.get(lowered);
    if (known) return known;
    const made = this.#prepare(lowered);
    this.#ready.set(lowered, made);
    // Memory that did not suffice may do so later.
    made.catch(() => this.#ready.delete(lowered));
    return made;
  }

  /** Makes lists ready, one after the other, until the signal. */
  async prepareAll(wanted: readonly LoweredGraph[], signal?: AbortSignal): Promise<void> {
    for (const [i, each] of wanted.entries()) {
      if (signal?.aborted) return;
      const made = this.ready(each);
      // Compilers on other threads are not to run out of work at the end of a list.
      if (i + 1 < wanted.length) this.#prefetch(wanted[i + 1]);
      await made;
    }
  }

  #prefetch({ dispatches, sampling }: LoweredGraph): void {
    this.context.pipelines.prefetch(
      [...dispatches, ...sampling].map(({ dispatch }) => dispatch),
    );
  }

  /** Compiles what draws with details need; buffers are bound to it at the first of them. */
  async prepareDetails(signal?: AbortSignal): Promise<void> {
    const wanted = this.lowered.flatMap(({ details }) =>
      details ? [details.before.dispatch, details.after.dispatch] : []
    );
    if (!signal?.aborted) this.context.pipelines.prefetch(wanted);
    for (const dispatch of wanted) {
      if (signal?.aborted) return;
      await this.context.pipelines.get(dispatch);
    }
  }

  /** Counts of every list and what kernels chose; weight bytes are those of one token. */
  get report(): ListsReport {
    return this.#report ??= this.#makeReport();
  }

  #makeReport(): ListsReport {
    const lists = this.lowered.map((lowered) =>
      reportList(lowered, this.memory.bufferNumber(lowered))
    );
    const prefill = lists.findLast(({ tokens }) => !tokens.single) ?? lists[0];
    return {
      weightBytesPerToken: lists[0].weightBytes,
      dispatches: { decode: lists[0], prefill },
      lists,
      choices: reportChoices(this.lowered),
    };
  }

  async #prepare(lowered: LoweredGraph): Promise<StepList> {
    const lookup = await this.memory.lookup(lowered);
    const { device, pipelines } = this.context;
    const prepare = (sources: readonly LoweredDispatch[]) =>
      prepareCommands(sources, device, pipelines, lookup);
    const commands = await prepare(lowered.dispatches);
    const sampling = await prepare(lowered.sampling);
    return {
      lowered,
      commands,
      sampling,
      prepare,
      outputBuffer(name) {
        const resource = lowered.outputs.get(name);
        invariant(resource, `the graph has no output "${name}"`);
        return lookup(resource);
      },
    };
  }
}
