/**
 * The Hugging Face hub: files of a model, and the cache that its other clients share.
 *
 * @module
 */

export * from "npm:@huggingface/hub@2.17.5";
