/**
 * Checks manifests against the types of Kubernetes' published OpenAPI document, unknown fields
 * included: a program with the manifests as literals has to type-check.
 *
 * @module
 */

import assert from "node:assert/strict";
import { parseAllDocuments } from "../../deps/yaml.ts";
import { ROOT } from "./root.ts";

/** An object of a manifest. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  /** Of a ConfigMap. */
  readonly data?: Readonly<Record<string, string>>;
  readonly [name: string]: unknown;
}

/** Kinds that the published document has, with the version that their type is of. */
const API_VERSIONS: Readonly<Record<string, string>> = {
  ConfigMap: "v1",
  Deployment: "apps/v1",
  HorizontalPodAutoscaler: "autoscaling/v2",
  PodDisruptionBudget: "policy/v1",
  Service: "v1",
};

/** The objects of a file. */
export function readManifests(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => {
    assert.deepEqual(document.errors, []);
    return document.toJS();
  });
}

/** What the compiler says; empty when all manifests are valid, and it finds a mistake in each `wrong` one. */
export async function checkManifests(
  manifests: readonly Manifest[],
  wrong: readonly Manifest[],
): Promise<string> {
  const kinds = [...Object.keys(API_VERSIONS), "LeaderWorkerSet"];
  for (const { kind, apiVersion } of [...manifests, ...wrong]) {
    assert.ok(kinds.includes(kind), `no type of ${kind} is known`);
    assert.equal(apiVersion, API_VERSIONS[kind] ?? "leaderworkerset.x-k8s.io/v1");
  }
  const program = [
    `import type { ${
      Object.keys(API_VERSIONS).join(", ")
    }, ObjectMeta, PodTemplateSpec } from "${new URL("deps/kubernetes_types.ts", ROOT)}";`,
    LEADER_WORKER_SET,
    ...manifests.map((manifest, i) => declare(`object${i}`, manifest)),
    ...wrong.map((manifest, i) => `// @ts-expect-error\n${declare(`wrong${i}`, manifest)}`),
  ].join("\n");
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, program);
    const lock = new URL("deno.lock", ROOT).pathname;
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--quiet", `--lock=${lock}`, "--frozen", file],
      env: { NO_COLOR: "1" },
    }).output();
    return success ? "" : new TextDecoder().decode(stderr);
  } finally {
    await Deno.remove(file);
  }
}

function declare(name: string, manifest: Manifest): string {
  return `export const ${name}: ${manifest.kind} = ${JSON.stringify(manifest)};`;
}

/**
 * A kind of the LeaderWorkerSet controller, whose schema is not in Kubernetes' document: its fields as
 * its own documentation has them (https://lws.sigs.k8s.io/docs/reference/leaderworkerset.v1/).
 */
const LEADER_WORKER_SET = `
interface LeaderWorkerSet {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  spec: {
    replicas?: number;
    startupPolicy?: "LeaderCreated" | "LeaderReady";
    leaderWorkerTemplate: {
      leaderTemplate?: PodTemplateSpec;
      workerTemplate: PodTemplateSpec;
      size?: number;
      restartPolicy?: "RecreateGroupOnPodRestart" | "None";
    };
  };
}`;
