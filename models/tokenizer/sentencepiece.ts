/**
 * SentencePiece models as tokenizers of the tokenizers library: the file `tokenizer.model`, whose
 * format is the protocol buffer of
 * https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto, and the lists
 * of tokens and scores that GGUF keeps of one.
 *
 * @module
 */

/** Kinds of pieces, by their numbers in the file and in GGUF. */
export const PIECE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 };

/** One token of a vocabulary; its place in the list is its id. */
export interface Piece {
  readonly text: string;
  readonly score: number;
  /** One of {@linkcode PIECE}. */
  readonly kind: number;
}

/** What a SentencePiece model says. */
export interface SentencePieceModel {
  readonly pieces: readonly Piece[];
  readonly algorithm: "BPE" | "Unigram" | "other";
  readonly bosId: number;
  /** Put a space in front of a text. */
  readonly addsSpace: boolean;
  /** Texts are changed before they are split: characters folded, spaces removed. */
  readonly normalizes: boolean;
}

/** A space in a piece. */
const SPACE = "\u2581";

/**
 * The content of a tokenizer.json for a model, as transformers converts one. `legacy` puts the
 * space in front of every part between special tokens, as Llama 2 did, rather than the first.
 */
export function sentencePieceTokenizer(model: SentencePieceModel, legacy: boolean): unknown {
  const { pieces, addsSpace, bosId } = model;
  const added = pieces.flatMap(({ text, kind }, id) =>
    [PIECE.unknown, PIECE.control, PIECE.userDefined].includes(kind)
      ? [{ id, content: text, normalized: false, special: kind !== PIECE.userDefined }]
      : []
  );
  const bos = pieces[bosId]?.text;
  const replace = { type: "Replace", pattern: { String: " " }, content: SPACE };
  return {
    model: model.algorithm === "BPE" ? bpeOf(pieces) : unigramOf(pieces),
    added_tokens: added,
    normalizer: legacy
      ? {
        type: "Sequence",
        normalizers: [...(addsSpace ? [{ type: "Prepend", prepend: SPACE }] : []), replace],
      }
      : null,
    pre_tokenizer: legacy ? null : {
      type: "Metaspace",
      replacement: SPACE,
      prepend_scheme: addsSpace ? "first" : "never",
      split: false,
    },
    post_processor: bos === undefined ? null : beginWith(bos, bosId),
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: SPACE }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(addsSpace ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
  };
}

/** A post-processor that puts a token in front. */
export function beginWith(token: string, id: number): unknown {
  const sequence = (name: string) => ({ Sequence: { id: name, type_id: 0 } });
  const first = { SpecialToken: { id: token, type_id: 0 } };
  return {
    type: "TemplateProcessing",
    single: [first, sequence("A")],
    pair: [first, sequence("A"), first, sequence("B")],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}

function bpeOf(pieces: readonly Piece[]) {
  return {
    type: "BPE",
    vocab: Object.fromEntries(pieces.map(({ text }, id) => [text, id])),
    merges: mergesOf(pieces),
    unk_token: pieces.find(({ kind }) => kind === PIECE.unknown)?.text ?? null,
    fuse_unk: true,
    byte_fallback: pieces.some(({ kind }) => kind === PIECE.byte),
  };
}

function unigramOf(pieces: readonly Piece[]) {
  return {
    type: "Unigram",
    vocab: pieces.map(({ text, score }) => [text, score]),
    unk_id: Math.max(pieces.findIndex(({ kind }) => kind === PIECE.unknown), 0),
    byte_fallback: pieces.some(({ kind }) => kind === PIECE.byte),
  };
}

/** Every way to make a piece of two others; the merge of the best score comes first. */
function mergesOf(pieces: readonly Piece[]): [string, string][] {
  const ids = new Map(pieces.map(({ text }, id) => [text, id]));
  const merges: { pair: [string, string]; score: number }[] = [];
  for (const { text, score } of pieces) {
    const ways: [string, string][] = [];
    for (let at = 1; at < text.length; at++) {
      const pair: [string, string] = [text.slice(0, at), text.slice(at)];
      if (pair.every((half) => ids.has(half))) ways.push(pair);
    }
    const id = (half: string) => ids.get(half) ?? 0;
    ways.sort((a, b) => id(a[0]) - id(b[0]) || id(a[1]) - id(b[1]));
    merges.push(...ways.map((pair) => ({ pair, score })));
  }
  return merges
    .sort((a, b) =>
      b.score - a.score || b.pair[0].length - a.pair[0].length ||
      b.pair[1].length - a.pair[1].length
    )
    .map(({ pair }) => pair);
}

/** Reads a `tokenizer.model`; raises a RangeError for what is none. */
export function readSentencePiece(bytes: Uint8Array): SentencePieceModel {
  const fields = [...fieldsOf(bytes)];
  const only = (field: number) =>
    fields.filter((each) => each.field === field).flatMap(({ value }) =>
      value instanceof Uint8Array ? [...fieldsOf(value)] : []
    );
  const [trainer, normalizer] = [only(2), only(3)];
  const number = (of: readonly Field[], field: number, otherwise: number) =>
    Number(of.findLast((each) => each.field === field)?.value ?? otherwise);
  const charsmap = normalizer.find(({ field }) => field === 2)?.value;
  const pieces = fields.filter(({ field }) => field === 1).map(({ value }) => pieceOf(value));
  if (pieces.length === 0) throw new RangeError("no pieces");
  const algorithms = { 1: "Unigram", 2: "BPE" } as const;
  const type = number(trainer, 3, 1);
  return {
    pieces,
    algorithm: type === 1 || type === 2 ? algorithms[type] : "other",
    bosId: number(trainer, 41, 1),
    addsSpace: number(normalizer, 3, 1) !== 0,
    normalizes: (charsmap instanceof Uint8Array && charsmap.length > 0) ||
      number(normalizer, 4, 1) !== 0,
  };
}

/** One field of a protocol buffer: a number, or the bytes of a text or message. */
interface Field {
  readonly field: number;
  readonly value: number | Uint8Array;
}

function pieceOf(value: Field["value"]): Piece {
  if (!(value instanceof Uint8Array)) throw new RangeError("a piece that is not a message");
  const piece = { text: "", score: 0, kind: PIECE.normal };
  for (const { field, value: part } of fieldsOf(value)) {
    if (field === 1 && part instanceof Uint8Array) piece.text = new TextDecoder().decode(part);
    if (field === 2) piece.score = Number(part);
    if (field === 3) piece.kind = Number(part);
  }
  return piece;
}

/** Fields of a message (https://protobuf.dev/programming-guides/encoding). */
function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = view.getUint8(at++);
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new RangeError("a number of more than 10 bytes");
  };
  const take = (length: number) => {
    if (at + length > bytes.length) throw new RangeError("a field beyond the end");
    return bytes.subarray(at, at += length);
  };
  while (at < bytes.length) {
    const key = varint();
    const field = key >>> 3;
    switch (key & 7) {
      case 0:
        yield { field, value: varint() };
        break;
      case 1:
        yield { field, value: take(8) };
        break;
      case 2:
        yield { field, value: take(varint()) };
        break;
      case 5:
        yield { field, value: view.getFloat32(at, true) };
        at += 4;
        break;
      default:
        throw new RangeError(`a field of type ${key & 7}`);
    }
  }
}
