/**
 * The AI SDK and its provider for services that speak OpenAI's API: an agent's client, which the
 * server's tests talk with.
 *
 * @module
 */

export { createOpenAICompatible } from "npm:@ai-sdk/openai-compatible@3.0.92";
export { generateText, jsonSchema, stepCountIs, streamText, tool } from "npm:ai@7.0.173";
