/**
 * Answers that have to be of a form, such as JSON or a call of a tool: a grammar says before each
 * token which ones may come.
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
import { OUTPUT_FORMATS, type TextForm, type Vocabulary } from "../../models/mod.ts";
import type { AllowedTokens } from "../../runtime/mod.ts";
import { markText, writeGrammar } from "./grammar_form.ts";

/** What grammars are made for. */
export interface GrammarModel {
  readonly vocabulary: Vocabulary;
  readonly endTokens: readonly number[];
}

/** A library that has read the vocabulary, and the grammars it has compiled. */
interface Opened {
  readonly library: XGrammar;
  readonly compiler: GrammarCompiler;
  /** Marks that are tokens, with their ids. */
  readonly marks: ReadonlyMap<string, number>;
  readonly compiled: Map<string, CompiledGrammar>;
}

/** Guides the tokens of one answer; its memory is the library's, and freed with it. */
export interface Guide extends Disposable {
  readonly allowedTokens: AllowedTokens;
}

/** Grammars that are kept. */
const MOST_COMPILED = 32;

/** Characters of all schemas of a form; larger ones take seconds to compile. */
const MOST_SCHEMA_CHARACTERS = 64 << 10;

/** How tokens write the character that the text of a mark begins with. */
const MARK_START: Readonly<Record<Vocabulary["kind"], readonly string[]>> = {
  byte_level: ["\u0101"],
  byte_fallback: ["\u0001", "<0x01>"],
  raw: ["\u0001"],
};

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
  #opened: Opened | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(readonly model: GrammarModel) {}

  /**
   * Guides an answer of a form. `param` is the field of the request that demands it.
   *
   * @throws {RequestError} for a schema that cannot be followed, by the word that is at fault.
   */
  guide(form: TextForm, param: string): Promise<Guide> {
    // One after the other: equal forms are compiled once, none is disposed of while a matcher is made of
    // it, and the schema that ends the library is the one that gets the blame.
    const made = this.#last.then(() => this.#make(form, param));
    this.#last = made.catch(() => {});
    return made;
  }

  async #make(form: TextForm, param: string): Promise<Guide> {
    const key = JSON.stringify(form);
    checkSchemas(form, key, param);
    const opened = this.#opened ??= await open(this.model);
    const grammar = opened.compiled.get(key) ?? await this.#compile(opened, form, key, param);
    const { GrammarMatcher } = opened.library;
    const matcher = await GrammarMatcher.createGrammarMatcher(grammar, [...this.model.endTokens]);
    return follow(matcher, this.model.vocabulary.texts.length);
  }

  async #compile(
    { library, compiler, compiled, marks }: Opened,
    form: TextForm,
    key: string,
    param: string,
  ): Promise<CompiledGrammar> {
    try {
      const grammar = await compiler.compileGrammar(await writeGrammar(form, library, marks));
      const [oldest] = compiled;
      if (compiled.size >= MOST_COMPILED && oldest) {
        // Matchers that still use it hold the library's own reference.
        oldest[1].dispose();
        compiled.delete(oldest[0]);
      }
      compiled.set(key, grammar);
      return grammar;
    } catch (error) {
      // The library has ended itself, and every answer that it guides; the next one opens anew.
      this.#opened = undefined;
      throw cannotFollow(
        param,
        `a schema that the grammar library reads, got one that it does not (${messageOf(error)})`,
      );
    }
  }
}

async function open({ vocabulary, endTokens }: GrammarModel): Promise<Opened> {
  const library = openXGrammar();
  const marks = marksOf(vocabulary, endTokens);
  // A mark is its token alone: the library never allows a token whose text is empty.
  const starts = MARK_START[vocabulary.kind];
  const texts = vocabulary.texts.map((text) =>
    starts.some((each) => text.includes(each)) ? "" : text
  );
  for (const id of marks.values()) texts[id] = markText(id);
  const info = await library.TokenizerInfo.createTokenizerInfo(
    texts,
    vocabulary.kind,
    false,
    texts.length,
    [...endTokens],
  );
  const compiler = await library.GrammarCompiler.createGrammarCompiler(info);
  return { library, compiler, marks, compiled: new Map() };
}

/** Marks of output formats that are tokens; end tokens come after the form, not in it. */
function marksOf(
  { added }: Vocabulary,
  endTokens: readonly number[],
): ReadonlyMap<string, number> {
  const known = new Set(OUTPUT_FORMATS.flatMap(({ marks }) => marks));
  return new Map([...added].filter(([text, id]) => known.has(text) && !endTokens.includes(id)));
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

function follow(matcher: GrammarMatcher, vocabSize: number): Guide {
  const masks = maskSource(matcher);
  let taken = 0;
  let isFreed = false;
  return {
    allowedTokens(made) {
      for (; taken < made.length; taken++) matcher.acceptToken(made[taken]);
      if (matcher.isTerminated()) return undefined;
      const words = masks.GetNextTokenBitmask(vocabSize);
      const mask = Uint32Array.from({ length: words.size() }, (_, index) => words.get(index));
      words.delete();
      return mask;
    },
    [Symbol.dispose]() {
      if (!isFreed) matcher.dispose();
      isFreed = true;
    },
  };
}

function checkSchemas(form: TextForm, text: string, param: string): void {
  if (text.length > MOST_SCHEMA_CHARACTERS) {
    throw cannotFollow(
      param,
      `schemas of at most ${MOST_SCHEMA_CHARACTERS} characters, got ${text.length}`,
    );
  }
  for (const schema of schemasIn(form)) {
    const word = unknownWord(schema);
    if (word === undefined) continue;
    throw cannotFollow(
      param,
      `a schema without "${word}", which is not supported, got one with it`,
    );
  }
}

function schemasIn(form: TextForm): unknown[] {
  if (typeof form === "string") return [];
  switch (form.kind) {
    case "json":
      return [form.schema];
    case "all":
    case "any":
      return form.forms.flatMap(schemasIn);
    case "list":
      return schemasIn(form.form);
    default:
      return [];
  }
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

function cannotFollow(param: string, expected: string): RequestError {
  return new RequestError(
    "request/json-schema",
    `Cannot answer in the form of ${param}: expected ${expected}`,
    { details: { param } },
  );
}
