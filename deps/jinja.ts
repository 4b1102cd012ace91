/**
 * Chat templates: the subset of Jinja that they are written in.
 *
 * @module
 */

export * from "npm:@huggingface/jinja@0.5.11";
