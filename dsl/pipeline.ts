/**
 * The pipeline: what a deployment does, as an immutable value. Methods for single transforms are
 * made from the registry.
 *
 * @module
 */

import type { z } from "../deps/zod.ts";
import defaultYaml from "../configs/default.yaml" with { type: "text" };
import { ConfigError } from "../graph/mod.ts";
import type { Engine } from "../runtime/mod.ts";
import {
  type AnyTransform,
  type DefinitionFields,
  findTransform,
  type TransformDefinition,
  type TransformKey,
  watchTransforms,
} from "../transforms/mod.ts";
import { type DeployOptions, deployResolved } from "./deploy.ts";
import { throwIssues } from "./issue.ts";
import { LayerBuilder, type Writer } from "./layer.ts";
import { camelCase } from "./names.ts";
import { SourceText } from "./origin.ts";
import { EMPTY_OVERLAY, mergeOverlays, type Overlay, sameOverlay } from "./overlay.ts";
import { type ResolvedPipeline, resolveOverlay } from "./resolve.ts";
import type { Settings, SettingsInput } from "./setting_types.ts";
import { settingOfMethod } from "./settings.ts";
import { ownVariables, readEnvironment, readFlags } from "./text_layers.ts";
import type { TransformMethods } from "./transform_methods.ts";
import { overlayToTypeScript, type TypeScriptOptions } from "./write_typescript.ts";
import { overlayToYaml, resolvedToYaml } from "./write_yaml.ts";
import { loadSource } from "./yaml_file.ts";
import { readYaml } from "./yaml_reader.ts";

/** What {@linkcode Pipeline.toYaml} writes. */
export interface YamlOptions {
  /** Every value instead of those that were set; default false. */
  readonly resolved?: boolean;
  /** With `resolved`: the layer that set each value, as a comment; default false. */
  readonly origins?: boolean;
}

/** The values below a pipeline's own ones. */
type Base = "default" | "empty";

let defaults: Overlay | undefined;

/** The values of `configs/default.yaml`. */
function defaultOverlay(): Overlay {
  if (defaults) return defaults;
  const { overlay, issues } = readYaml(
    new SourceText("configs/default.yaml", defaultYaml),
    "default",
  );
  throwIssues(issues);
  return defaults = overlay;
}

/** What may be given as a configuration: a YAML file's path, its text, or a pipeline. */
export type ConfigSource = string | URL | Pipeline;

/** What {@linkcode Pipeline.deploy} takes. */
export interface PipelineDeployOptions extends DeployOptions {
  /** Model folder; default the pipeline's `model`. */
  readonly model?: string;
  /** Where the model runs; default the pipeline's `executor`. */
  readonly executor?: Settings["executor"];
  /** Laid over the pipeline, in this order. */
  readonly config?: ConfigSource | readonly ConfigSource[];
}

/** Methods of {@linkcode Pipeline} that are made from the registry. */
export interface Pipeline extends TransformMethods<Pipeline> {}

/**
 * What a deployment does. Immutable: every method gives a new pipeline with its values over the ones
 * before; the last one wins.
 *
 * @example
 * ```ts
 * import { pipeline } from "./pipeline.ts";
 * const fast = pipeline().fuseMoe({ backend: "triton" }).disable("fuse_gemms");
 * console.assert(fast.toYaml() === `transforms:
 *   fuse_moe:
 *     backend: triton
 *   fuse_gemms:
 *     enabled: false
 * `);
 * ```
 */
export class Pipeline {
  readonly #overlay: Overlay;
  readonly #base: Base;

  /** Made by {@linkcode pipeline}. */
  constructor(overlay: Overlay, base: Base) {
    this.#overlay = overlay;
    this.#base = base;
    Object.freeze(this);
  }

  /**
   * Adds a transform, registered or not, or sets fields of one that is there.
   *
   * @throws {ConfigError} for fields the transform does not have, values they do not take, and a
   * definition whose key belongs to another transform.
   */
  use<const Key extends string, Own extends z.ZodRawShape, Match>(
    definition: TransformDefinition<Key, Own, Match>,
    fields: Partial<DefinitionFields<Own>> = {},
  ): Pipeline {
    return this.#use(definition as AnyTransform, fields, `use(${definition.key})`);
  }

  /** Switches transforms on, and adds those that are not there. */
  enable(...keys: readonly TransformKey[]): Pipeline {
    return this.#switch(keys, true);
  }

  /** Switches transforms off. */
  disable(...keys: readonly TransformKey[]): Pipeline {
    return this.#switch(keys, false);
  }

  /**
   * Sets one value by its path, as `--set` does: `transforms.fuse-moe.backend`, `max_seq_len`. Null
   * goes back to the default.
   */
  set(path: string, value: unknown): Pipeline {
    const parts = path.replaceAll("-", "_").split(".");
    return this.#write(`set(${path})`, (builder, call) => builder.write(parts, value, call));
  }

  /** Sets top-level settings, and the short names of fields of transforms. */
  settings(values: SettingsInput): Pipeline {
    return this.#write("settings()", (builder, call) => {
      for (const [name, value] of Object.entries(values)) {
        if (value !== undefined) builder.write([settingOfMethod(name) ?? name], value, call);
      }
    });
  }

  /** Lays another pipeline's own values over this one's; what lies under the other is left out. */
  overlay(other: Pipeline): Pipeline {
    return new Pipeline(mergeOverlays(this.#overlay, other.#overlay), this.#base);
  }

  /** Whether two pipelines have the same values, whatever their origins and spelling. */
  equals(other: Pipeline): boolean {
    return this.#base === other.#base && sameOverlay(this.#overlay, other.#overlay);
  }

  /**
   * Fills in all defaults and puts the transforms in order.
   *
   * @throws {ConfigError} when `after` and `before` of transforms contradict their order.
   */
  resolve(): ResolvedPipeline {
    return resolveOverlay(
      this.#base === "empty" ? this.#overlay : mergeOverlays(defaultOverlay(), this.#overlay),
    );
  }

  /** The pipeline as YAML that {@linkcode pipeline.fromYaml} reads back. */
  toYaml(options: YamlOptions = {}): string {
    return options.resolved
      ? resolvedToYaml(this.resolve(), options.origins ?? false)
      : overlayToYaml(this.#overlay, this.#base);
  }

  /** What `console.log` shows: the values that were set, as YAML, and what lies under them. */
  [Symbol.for("Deno.customInspect")](): string {
    const under = this.#base === "empty" ? "nothing" : "configs/default.yaml";
    const own = overlayToYaml(this.#overlay, "default").trimEnd();
    // The writer gives an empty overlay as the empty mapping.
    const isEmpty = this.#overlay.settings.size === 0 && this.#overlay.transforms.size === 0;
    return isEmpty
      ? `Pipeline over ${under}`
      : `Pipeline over ${under}, with\n${own.replaceAll(/^/gm, "  ")}`;
  }

  /** The pipeline as a TypeScript program that deploys it. */
  toTypeScript(options: TypeScriptOptions = {}): string {
    return overlayToTypeScript(this.#overlay, this.#base, options);
  }

  /**
   * Loads a model, runs the transforms on its graph, and makes the result ready to answer.
   *
   * @throws {ConfigError} without a model, or with a wrong configuration.
   * @throws {CheckpointError} when the model folder is not what it should be.
   */
  async deploy(
    { model, executor, config = [], ...options }: PipelineDeployOptions = {},
  ): Promise<Engine> {
    const sources: readonly ConfigSource[] = [config].flat();
    const configured = sources.reduce<Pipeline>(
      (lower, source) =>
        lower.overlay(source instanceof Pipeline ? source : pipeline.fromYaml(source)),
      this,
    );
    const chosen = configured.#write("deploy()", (builder, call) => {
      if (model !== undefined) builder.write(["model"], model, call);
      if (executor !== undefined) builder.write(["executor"], executor, call);
    });
    return await deployResolved(chosen.resolve(), options);
  }

  #use(definition: AnyTransform, fields: object, call: string): Pipeline {
    const registered = findTransform(definition.key);
    if (registered !== undefined && registered !== definition) {
      throw new ConfigError(
        "config/duplicate-transform",
        `Cannot use transform "${definition.key}": expected a new key, got that of a registered transform`,
        { hint: "Give the definition a key of its own", details: { transform: definition.key } },
      );
    }
    return this.#write(
      call,
      (builder, writer) => builder.write(["transforms", definition.key], fields, writer),
      registered ? [] : [definition],
    );
  }

  #switch(keys: readonly string[], enabled: boolean): Pipeline {
    return this.#write(enabled ? "enable()" : "disable()", (builder, call) => {
      for (const key of keys) builder.write(["transforms", key, "enabled"], enabled, call);
    });
  }

  /** Lays what a call writes over this pipeline; `call` is how provenance and errors name it. */
  #write(
    call: string,
    write: (builder: LayerBuilder, writer: Writer) => void,
    definitions: readonly AnyTransform[] = [],
  ): Pipeline {
    const used = [...this.#overlay.transforms.values()].flatMap(({ definition }) =>
      definition ?? []
    );
    const builder = new LayerBuilder([...used, ...definitions]);
    write(builder, {
      origin: () => ({ layer: "code", call }),
      location: () => ({ text: `in ${call}` }),
    });
    throwIssues(builder.issues);
    return new Pipeline(mergeOverlays(this.#overlay, builder.overlay), this.#base);
  }

  // One real method per transform, so that stack traces and completion work as usual.
  static {
    watchTransforms((definition) => {
      const name = camelCase(definition.key);
      if (name in Pipeline.prototype) {
        throw new ConfigError(
          "config/transform",
          `Cannot register transform "${definition.key}": expected a key whose method is new, got ${name}()`,
          { hint: "Give it another key", details: { transform: definition.key } },
        );
      }
      Object.defineProperty(Pipeline.prototype, name, {
        value: function (this: Pipeline, fields: object = {}): Pipeline {
          return this.#use(definition, fields, `${name}()`);
        },
      });
    });
  }
}

/** Ways to start a pipeline. */
export interface PipelineStart {
  /** The pipeline of `configs/default.yaml`. */
  (): Pipeline;
  /** A pipeline with no transforms: a start from nothing, or values to lay over another one. */
  empty(): Pipeline;
  /**
   * Files, or texts, over the defaults; later ones win.
   *
   * @throws {ConfigError} with everything that is wrong with all of them.
   */
  fromYaml(...sources: readonly (string | URL)[]): Pipeline;
  /** `path=value` texts, as after `--set`, to lay over another pipeline. */
  fromFlags(flags: readonly string[]): Pipeline;
  /**
   * Variables such as `MIXLINE_TRANSFORMS__FUSE_MOE__BACKEND` and `MIXLINE_MAX_SEQ_LEN`, to lay over
   * another pipeline. They are read only by this call.
   */
  fromEnvironment(variables?: Readonly<Record<string, string>>): Pipeline;
}

/**
 * Starts a pipeline. Precedence is the order in which pipelines are laid over each other; the
 * command line takes defaults, files, environment and flags, later ones first.
 *
 * @example
 * ```ts
 * import { pipeline } from "./pipeline.ts";
 * const deployment = pipeline.fromYaml("transforms: { fuse_moe: { backend: triton } }")
 *   .overlay(pipeline.fromEnvironment({ MIXLINE_MAX_SEQ_LEN: "512" }))
 *   .overlay(pipeline.fromFlags(["transforms.fuse-moe.backend=trtllm"]));
 * const { settings, originOf } = deployment.resolve();
 * console.assert(settings.maxSeqLen === 512);
 * console.assert(originOf("transforms.fuse_moe.backend")?.layer === "flag");
 * ```
 */
export const pipeline: PipelineStart = Object.assign(
  () => new Pipeline(EMPTY_OVERLAY, "default"),
  {
    empty: () => new Pipeline(EMPTY_OVERLAY, "empty"),
    fromYaml: readPipeline,
    fromFlags: (flags: readonly string[]) => new Pipeline(readFlags(flags), "empty"),
    fromEnvironment: (variables: Readonly<Record<string, string>> = ownVariables()) =>
      new Pipeline(readEnvironment(variables), "empty"),
  },
);

function readPipeline(...sources: readonly (string | URL)[]): Pipeline {
  const layers = sources.map((source) => readYaml(loadSource(source)));
  throwIssues(layers.flatMap(({ issues }) => issues));
  const overlay = layers.reduce(
    (lower, layer) => mergeOverlays(lower, layer.overlay),
    EMPTY_OVERLAY,
  );
  return new Pipeline(overlay, layers.findLast(({ base }) => base)?.base ?? "default");
}

/** `pipeline().deploy(options)`. */
export function deploy(options: PipelineDeployOptions): Promise<Engine> {
  return pipeline().deploy(options);
}
