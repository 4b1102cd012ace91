/**
 * The command line's parser, with types of options and arguments.
 *
 * @module
 */

export * from "npm:@commander-js/extra-typings@15.1.0";
