/**
 * Answers that have to be JSON: a grammar says before each token which ones may come.
 *
 * @module
 */

import {
  type CompiledGrammar,
  type GrammarCompiler,
  type GrammarMatcher,
  openXGrammar,
  type XGrammar,
} from "../../deps/xgrammar.ts";
import { messageOf, RequestError } from "../../graph/mod.ts";
import type { Vocabulary } from "../../models/mod.ts";
import type { AllowedTokens } from "../../runtime/mod.ts";
import type { ResponseFormat } from "./protocol.ts";

/** What grammars are made for. */
export interface GrammarModel {
  readonly vocabulary: Vocabulary;
  readonly endTokens: readonly number[];
}

/** A library that has read the vocabulary, and the grammars it has compiled. */
interface Opened {
  readonly library: XGrammar;
  readonly compiler: GrammarCompiler;
  readonly compiled: Map<string, CompiledGrammar>;
}

/** Grammars that are kept. */
const MOST_COMPILED = 32;

/** Characters of a schema; larger ones take seconds to compile. */
const MOST_SCHEMA_CHARACTERS = 64 << 10;

/** Whitespace between two parts of an answer: without a bound some models write nothing else. */
const MOST_WHITESPACE = 8;

/** Words of JSON Schema that change what is valid and that the library does not follow. */
const UNKNOWN_WORDS = [
  "not",
  "if",
  "then",
  "else",
  "dependentSchemas",
  "dependentRequired",
  "unevaluatedProperties",
  "unevaluatedItems",
  "contains",
  "minContains",
  "maxContains",
  "uniqueItems",
  "multipleOf",
  "propertyNames",
  "patternProperties",
  "$dynamicRef",
];

/** Makes and keeps the grammars of one model. */
export class Grammars {
  #opened: Promise<Opened> | undefined;

  constructor(readonly model: GrammarModel) {}

  /**
   * The tokens that may come, for an answer of a form.
   *
   * @throws {RequestError} for a schema that cannot be followed, by the word that is at fault.
   */
  async allowedTokens(format: ResponseFormat): Promise<AllowedTokens> {
    const opened = await (this.#opened ??= open(this.model));
    const schema = format.type === "json_object" ? { type: "object" } : format.json_schema.schema;
    const text = JSON.stringify(schema);
    checkSchema(schema, text);
    const grammar = opened.compiled.get(text) ?? await this.#compile(opened, text);
    const { GrammarMatcher } = opened.library;
    const matcher = await GrammarMatcher.createGrammarMatcher(grammar, [...this.model.endTokens]);
    return follow(matcher, this.model.vocabulary.texts.length);
  }

  async #compile(opened: Opened, schema: string): Promise<CompiledGrammar> {
    try {
      const grammar = await opened.compiler.compileJSONSchema(
        schema,
        true,
        undefined,
        undefined,
        true,
        MOST_WHITESPACE,
      );
      const oldest = opened.compiled.keys().next();
      if (opened.compiled.size >= MOST_COMPILED && !oldest.done) {
        opened.compiled.delete(oldest.value);
      }
      opened.compiled.set(schema, grammar);
      return grammar;
    } catch (error) {
      // The library has ended itself, and every answer that it guides; the next one opens anew.
      this.#opened = undefined;
      throw cannotFollow(
        `a schema that the grammar library reads, got one that it does not (${messageOf(error)})`,
      );
    }
  }
}

async function open({ vocabulary, endTokens }: GrammarModel): Promise<Opened> {
  const library = openXGrammar();
  const { texts, kind } = vocabulary;
  const info = await library.TokenizerInfo.createTokenizerInfo(
    [...texts],
    kind,
    false,
    texts.length,
    [...endTokens],
  );
  const compiler = await library.GrammarCompiler.createGrammarCompiler(info);
  return { library, compiler, compiled: new Map() };
}

/** A vector of the library's memory. */
interface Words {
  size(): number;
  get(index: number): number;
  delete(): void;
}

/** What computes masks inside a matcher. */
interface MaskSource {
  GetNextTokenBitmask(vocabSize: number): Words;
}

/** The matcher's own method for the mask is asynchronous, which a draw cannot wait for. */
function maskSource(matcher: GrammarMatcher): MaskSource {
  const handle: unknown = Reflect.get(matcher, "handle");
  if (isMaskSource(handle)) return handle;
  throw new Error(
    "npm:@mlc-ai/web-xgrammar gives no masks (this is a bug in Mixline, please report it)",
  );
}

function isMaskSource(value: unknown): value is MaskSource {
  return typeof value === "object" && value !== null && "GetNextTokenBitmask" in value &&
    typeof value.GetNextTokenBitmask === "function";
}

function follow(matcher: GrammarMatcher, vocabSize: number): AllowedTokens {
  const masks = maskSource(matcher);
  let taken = 0;
  return (made) => {
    for (; taken < made.length; taken++) matcher.acceptToken(made[taken]);
    if (matcher.isTerminated()) return undefined;
    const words = masks.GetNextTokenBitmask(vocabSize);
    const mask = Uint32Array.from({ length: words.size() }, (_, index) => words.get(index));
    words.delete();
    return mask;
  };
}

function checkSchema(schema: unknown, text: string): void {
  if (text.length > MOST_SCHEMA_CHARACTERS) {
    throw cannotFollow(
      `a schema of at most ${MOST_SCHEMA_CHARACTERS} characters, got ${text.length}`,
    );
  }
  const word = unknownWord(schema);
  if (word === undefined) return;
  throw cannotFollow(`a schema without "${word}", which is not supported, got one with it`);
}

/** The first word of a schema that would be ignored. Names of properties are no words. */
function unknownWord(schema: unknown): string | undefined {
  if (typeof schema !== "object" || schema === null) return undefined;
  for (const [word, value] of Object.entries(schema)) {
    if (UNKNOWN_WORDS.includes(word)) return word;
    const inner = ["properties", "$defs", "definitions"].includes(word) || Array.isArray(value)
      ? Object.values(value ?? {})
      : ["enum", "const", "default", "examples"].includes(word)
      ? []
      : [value];
    for (const each of inner) {
      const found = unknownWord(each);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

function cannotFollow(expected: string): RequestError {
  return new RequestError(
    "request/json-schema",
    `Cannot answer in the form of response_format: expected ${expected}`,
    { details: { param: "response_format" } },
  );
}
