/**
 * Rules that hold for the whole tree: imports point down, folders are entered by their `mod.ts`,
 * no cycles, files that can be read in one sitting, no escape from the type checker.
 *
 * @module
 */

import assert from "node:assert/strict";

/** Folders of the product and the layer of each; an import must go to a lower layer. */
const LAYERS: Readonly<Record<string, number>> = {
  graph: 0,
  models: 1,
  kernels: 1,
  transforms: 2,
  runtime: 2,
  dsl: 3,
  server: 4,
  cli: 5,
};

/** Folder of texts that any layer may read. */
const DATA = "configs";

/** Folder of the libraries, one file each, that any layer may use. */
const LIBRARIES = "deps";

/** Folders that nothing of the product may import. */
const OUTSIDE = ["bench", "docs", "examples", "lint", "tests"];

/** Folders of what other programs have written. */
const GOLDEN = "golden";

const MAX_LINES = { ts: 450, wgsl: 250 };

/** Files that may do what the last test bans, and why. */
const EXEMPT: Readonly<Record<string, string>> = {
  "tests/architecture_test.ts": "names what it bans",
};

const ROOT = new URL("../", import.meta.url);

/** A file of ours and the files of ours that it imports. */
type ModuleGraph = ReadonlyMap<string, readonly string[]>;

const sources = await listSources();
const modules = await readModuleGraph(sources.filter((path) => path.endsWith(".ts")));

Deno.test("imports point to a lower layer only", () => {
  assert.deepEqual(
    violations((from, to) => {
      const [fromFolder, toFolder] = [folderOf(from), folderOf(to)];
      if (fromFolder === toFolder || !(fromFolder in LAYERS)) return undefined;
      // deno.json has the version and the permissions of tasks: data too.
      if (toFolder === DATA || toFolder === LIBRARIES || to === "deno.json") return undefined;
      if (!(toFolder in LAYERS)) return `${toFolder || "the root"} is not a layer`;
      return LAYERS[toFolder] < LAYERS[fromFolder] ? undefined : "points up or sideways";
    }),
    [],
  );
});

Deno.test("imports enter another folder by its mod.ts, and never their own folder's", () => {
  assert.deepEqual(
    violations((from, to) => {
      if (!(folderOf(to) in LAYERS) || folderOf(from) === "tests") return undefined;
      const isEntry = to === `${folderOf(to)}/mod.ts`;
      if (folderOf(from) === folderOf(to)) {
        return isEntry ? "a file imports its own folder's mod.ts" : undefined;
      }
      return isEntry ? undefined : `enters ${folderOf(to)} beside its mod.ts`;
    }),
    [],
  );
});

Deno.test("examples import what deno.json exports alone", async () => {
  const { exports } = JSON.parse(await read("deno.json"));
  const entries = Object.values<string>(exports).map((path) => path.replace("./", ""));
  assert.deepEqual(
    violations((from, to) =>
      folderOf(from) === "examples" && folderOf(to) !== "examples" && !entries.includes(to)
        ? "is not the public API"
        : undefined
    ),
    [],
  );
});

Deno.test("libraries come through deps/, which alone names their versions", async () => {
  const wrong: string[] = [];
  for (const path of sources) {
    if (!(folderOf(path) in LAYERS) || !path.endsWith(".ts")) continue;
    const text = withoutComments(await Deno.readTextFile(new URL(path, ROOT)));
    // A bare name resolves by this repository's import map, which a script elsewhere does not have.
    for (const [, name] of text.matchAll(/(?:from|import\()\s*"((?!node:|\.)[^"]+)"/g)) {
      wrong.push(`${path} imports "${name}"`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("imports find their files", () => {
  const files = new Set([...modules.keys(), ...sources]);
  const isMissing = (to: string) => /\.(ts|wgsl)$/.test(to) && !files.has(to);
  assert.deepEqual(violations((_, to) => isMissing(to) ? "is missing" : undefined), []);
});

Deno.test("imports have no cycle", () => {
  assert.deepEqual(findCycle(modules), []);
});

Deno.test("findCycle() gives the files of a cycle when there is one", () => {
  const looped = new Map([["a", ["b"]], ["b", ["c"]], ["c", ["d", "b"]], ["d", []]]);
  assert.deepEqual(findCycle(looped), ["b", "c", "b"]);
});

Deno.test("every folder of the product has a mod.ts of re-exports alone", async () => {
  const wrong: string[] = [];
  for (const folder of [...Object.keys(LAYERS), ""]) {
    if (folder !== "" && !sources.some((path) => folderOf(path) === folder)) continue;
    // The command line is entered by main.ts, and imported by nobody.
    if (folder === "cli") continue;
    const path = folder === "" ? "mod.ts" : `${folder}/mod.ts`;
    const text = await Deno.readTextFile(new URL(path, ROOT)).catch(() => "");
    if (text === "") wrong.push(`${path} is missing`);
    const code = withoutComments(text).replaceAll(/export\s+(type\s+)?(\*|\{[^}]*\})[^;]*;/g, "");
    if (code.trim() !== "") wrong.push(`${path} holds code: ${code.trim().split("\n")[0]}`);
  }
  assert.deepEqual(wrong, []);
});

Deno.test("files keep to their line limits and names", async () => {
  const wrong: string[] = [];
  for (const path of sources) {
    const name = path.split("/").at(-1) ?? "";
    if (!/^_?[a-z0-9]+(_[a-z0-9]+)*\.(d\.)?(ts|wgsl)$/.test(name)) {
      wrong.push(`${path} is not snake_case`);
    }
    if (/util|helper|misc|manager/.test(name)) wrong.push(`${path} names nothing`);
    const limit = path.endsWith(".wgsl") ? MAX_LINES.wgsl : MAX_LINES.ts;
    const lines = (await read(path)).trimEnd().split("\n").length;
    if (lines > limit) wrong.push(`${path} has ${lines} lines, more than ${limit}`);
  }
  assert.deepEqual(wrong, []);
});

Deno.test("sources keep to the type checker and leave no marks of unfinished work", async () => {
  const banned: readonly [string, RegExp][] = [
    ["any", /(?:[:<,|&=(]|\bas|=>)\s*any\b(?=\s*(?:[;,)>|&=[\]{]|$))/m],
    ["a non-null assertion", /[\w)\]]!(?=[.;,)\]\[])/],
    ["a cast through unknown", /as unknown as/],
    ["a switched-off check", /@ts-(?:ignore|nocheck)|deno-lint-ignore/],
    ["a mark of unfinished work", new RegExp(["TO" + "DO", "FIX" + "ME", "XX" + "X"].join("|"))],
  ];
  const wrong: string[] = [];
  for (const path of sources.filter((path) => !(path in EXEMPT))) {
    const text = await read(path);
    const code = withoutStrings(withoutComments(text));
    for (const [what, pattern] of banned) {
      const inComments = what.startsWith("a switched") || what.startsWith("a mark");
      const found = (inComments ? text : code).match(pattern);
      if (found) wrong.push(`${path} has ${what}: ${found[0]}`);
    }
  }
  assert.deepEqual(wrong, []);
});

/** Edges that break a rule, as `from -> to: reason`. */
function violations(rule: (from: string, to: string) => string | undefined): string[] {
  const found: string[] = [];
  for (const [from, targets] of modules) {
    for (const to of targets) {
      const reason = rule(from, to);
      if (reason !== undefined) found.push(`${from} -> ${to}: ${reason}`);
    }
  }
  return found.sort();
}

function folderOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.indexOf("/")) : "";
}

/** The first cycle found, its first file repeated at the end; empty when there is none. */
function findCycle(graph: ModuleGraph): string[] {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] => {
    if (done.has(file)) return [];
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    path.push(file);
    for (const target of graph.get(file) ?? []) {
      const cycle = visit(target);
      if (cycle.length > 0) return cycle;
    }
    path.pop();
    done.add(file);
    return [];
  };
  for (const file of graph.keys()) {
    const cycle = visit(file);
    if (cycle.length > 0) return cycle;
  }
  return [];
}

/** Every TypeScript and WGSL file of ours, by its path from the root. */
async function listSources(): Promise<string[]> {
  const found: string[] = [];
  const walk = async (folder: string): Promise<void> => {
    for await (const entry of Deno.readDir(new URL(folder, ROOT))) {
      if (entry.isDirectory && entry.name !== GOLDEN) await walk(`${folder}${entry.name}/`);
      if (entry.isFile && /\.(ts|wgsl)$/.test(entry.name)) found.push(`${folder}${entry.name}`);
    }
  };
  for await (const entry of Deno.readDir(ROOT)) {
    if (entry.isFile && entry.name.endsWith(".ts")) found.push(entry.name);
    if (entry.isDirectory && (entry.name in LAYERS || OUTSIDE.includes(entry.name))) {
      await walk(`${entry.name}/`);
    }
  }
  return found.sort();
}

/** Asks Deno for the imports of all files at once, through a module that imports them all. */
async function readModuleGraph(paths: readonly string[]): Promise<ModuleGraph> {
  const entry = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    const imports = paths.map((path) => `import ${JSON.stringify(new URL(path, ROOT).href)};`);
    await Deno.writeTextFile(entry, imports.join("\n"));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--config", new URL("deno.json", ROOT).pathname, entry],
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    return toGraph(JSON.parse(new TextDecoder().decode(stdout)));
  } finally {
    await Deno.remove(entry);
  }
}

/** The part of `deno info --json` that is used. */
interface DenoInfo {
  modules: {
    specifier: string;
    dependencies?: { code?: { specifier?: string }; type?: { specifier?: string } }[];
  }[];
}

function toGraph(info: DenoInfo): ModuleGraph {
  const graph = new Map<string, string[]>();
  for (const { specifier, dependencies = [] } of info.modules) {
    if (!specifier.startsWith(ROOT.href)) continue;
    const targets = dependencies
      .map(({ code, type }) => (code ?? type)?.specifier ?? "")
      .filter((target) => target.startsWith(ROOT.href))
      .map((target) => target.slice(ROOT.href.length));
    graph.set(specifier.slice(ROOT.href.length), [...new Set(targets)].sort());
  }
  return graph;
}

function read(path: string): Promise<string> {
  return Deno.readTextFile(new URL(path, ROOT));
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*$/gm, "");
}

function withoutStrings(text: string): string {
  return text.replaceAll(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g, '""');
}
