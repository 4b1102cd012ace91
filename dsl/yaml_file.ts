/**
 * Where YAML comes from: a file, or the text itself.
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ConfigError, messageOf } from "../graph/mod.ts";
import { SourceText } from "./origin.ts";

/** The name of a text in messages when it is not a file. */
const TEXT_NAME = "yaml";

/**
 * Reads a file, or takes a text as it is: one with a line break, a mapping's `: `, or braces, or one
 * that is empty.
 *
 * @throws {ConfigError} `config/missing-file`.
 */
export function loadSource(source: string | URL): SourceText {
  if (typeof source === "string" && isText(source)) return new SourceText(TEXT_NAME, source);
  const name = String(source);
  try {
    const path = name.startsWith("file:") ? new URL(name) : name;
    const text = Deno.readTextFileSync(path).replace(/^\ufeff/, "");
    return new SourceText(
      name,
      text,
      dirname(path instanceof URL ? fileURLToPath(path) : resolve(path)),
    );
  } catch (error) {
    const isMissing = error instanceof Deno.errors.NotFound;
    const isFolder = error instanceof Deno.errors.IsADirectory;
    throw new ConfigError(
      isMissing ? "config/missing-file" : "config/unreadable-file",
      `Cannot read configuration "${name}": expected a file, got ${
        isMissing ? "none" : isFolder ? "a folder" : `"${messageOf(error)}"`
      }`,
      {
        hint: "Give the path of a YAML file, or its text",
        details: { file: name },
        cause: error,
      },
    );
  }
}

function isText(source: string): boolean {
  return source.trim() === "" || /\n|:(\s|$)|^\s*([{#]|- )/.test(source);
}
