/**
 * Tokenizers in the form of `tokenizer.json`.
 *
 * @module
 */

export * from "npm:@huggingface/tokenizers@0.2.0";
