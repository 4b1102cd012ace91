/**
 * Schemas: validation, types and JSON Schema from one definition.
 *
 * @module
 */

export { z } from "npm:zod@4.6.7";
