/**
 * The page at `/`: a chat with the model that this server serves, or a text that it continues where
 * the model knows no chats. Everything it shows of the model comes as text, never as markup.
 */

import { watchExperts } from "./experts.js";

const byId = (id) => document.getElementById(id);
const messages = byId("messages");
const prompt = byId("prompt");
const settings = byId("settings-form");

/** Panels beside the conversation, each with a button of its own. */
const PANELS = ["settings", "experts"];

/** What was said: `{ role, content, reasoning }`, in order. */
let history = [];
/** Facts of the server; empty until it has answered. */
let server = {};
/** Stops the answer that is being written. */
let running;

await start();

async function start() {
  restoreSettings();
  settings.addEventListener("input", keepSettings);
  settings.elements.key.addEventListener("change", () => {
    byId("model").textContent = "Connecting …";
    void connect();
  });
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = prompt.value;
    if (running || text.trim() === "") return;
    prompt.value = "";
    resizePrompt();
    void say(text);
  });
  byId("stop").addEventListener("click", () => running?.abort());
  byId("clear").addEventListener("click", clear);
  prompt.addEventListener("input", resizePrompt);
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("composer").requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
  for (const name of PANELS) byId(`open-${name}`).addEventListener("click", () => toggle(name));
  watchExperts(byId("experts"), () => call("experts"));
  await connect();
  setInterval(showHealth, 5000);
}

/** Opens a panel, or closes it; there is room for one. */
function toggle(name) {
  for (const each of PANELS) {
    const panel = byId(each);
    panel.hidden = each !== name || !panel.hidden;
    byId(`open-${each}`).setAttribute("aria-expanded", String(!panel.hidden));
    panel.dispatchEvent(new Event("toggled"));
  }
}

/** Asks the server what it serves. */
async function connect() {
  await showHealth();
  try {
    const { data: [model] } = await call("v1/models");
    server = {
      model: model.id,
      chats: model.chats,
      about: model.description,
      switchesThinking: model.thinking_switch,
    };
    settings.elements.thinking.closest("label").hidden = !model.thinking_switch;
    byId("model").textContent = model.id;
    document.title = `${model.id} · Mixline`;
    prompt.placeholder = model.chats ? "Write a message" : "Begin a story";
    introduce();
  } catch (error) {
    byId("model").textContent = error.needsKey ? "needs an API key" : messageOf(error);
    if (error.needsKey) askForKey();
  }
}

/** Shows where a key is entered. */
function askForKey() {
  if (byId("settings").hidden) toggle("settings");
  settings.elements.key.focus();
}

function introduce() {
  const intro = byId("intro");
  intro.replaceChildren();
  const lines = server.about
    ? [server.about]
    : server.chats
    ? [`You are talking to ${server.model}. It may be wrong; check what matters.`]
    : [`${server.model} is no chat model: it continues the text that you begin.`];
  for (const line of lines) {
    intro.append(Object.assign(document.createElement("p"), { textContent: line }));
  }
}

async function showHealth() {
  const badge = byId("engine");
  let text = "";
  try {
    const health = await (await fetch("health")).json();
    if (health.status !== "ok") text = "server is ending";
    if (health.engine !== "ready") text = `engine is ${health.engine}`;
    if (health.engine === "ready" && server.model === undefined && badge.textContent) {
      badge.textContent = "";
      return void connect();
    }
  } catch {
    text = "server does not answer";
  }
  if (badge.textContent !== text) badge.textContent = text;
  badge.classList.toggle("wrong", text !== "");
}

/** Says something and has it answered. */
async function say(text) {
  history.push({ role: "user", content: text });
  show(history.length - 1);
  await answer();
}

/** Has the last message answered. */
async function answer() {
  const index = history.push({ role: "assistant", content: "", reasoning: "" }) - 1;
  const item = show(index);
  item.classList.add("running");
  running = new AbortController();
  showRunning(true);
  const facts = { tokens: 0, begin: performance.now(), first: undefined, end: "", failed: false };
  try {
    for await (const chunk of stream(index, running.signal)) {
      take(chunk, history[index], facts, item);
    }
  } catch (error) {
    if (error.name === "AbortError") facts.end = "stopped";
    else {
      facts.end = messageOf(error);
      facts.failed = true;
      item.querySelector(".facts").classList.add("wrong");
      if (error.needsKey) askForKey();
    }
  }
  const wasAtEnd = isAtEnd();
  item.classList.remove("running");
  running = undefined;
  showRunning(false);
  item.querySelector(".facts").textContent = describe(facts);
  byId("announcer").textContent = facts.failed ? facts.end : history[index].content;
  addActions(index, item);
  if (wasAtEnd) scrollToEnd();
}

/** Adds one event of the stream to a message. */
function take(chunk, message, facts, item) {
  const [choice] = chunk.choices;
  if (chunk.usage) facts.tokens = chunk.usage.completion_tokens;
  if (!choice) return;
  const { content = choice.text ?? "", reasoning_content: thought = "", tool_calls: calls = [] } =
    choice.delta ?? {};
  if (content || thought) facts.first ??= performance.now();
  message.content += content +
    calls.map(({ function: f }) => `\n${f.name}(${f.arguments})`).join("");
  message.reasoning += thought;
  if (choice.finish_reason === "length") facts.end = "reached the most tokens";
  const wasAtEnd = isAtEnd();
  paint(item, message);
  if (wasAtEnd) scrollToEnd();
}

function describe({ tokens, begin, first, end }) {
  const now = performance.now();
  const parts = [];
  if (first !== undefined) {
    parts.push(`first after ${Math.round(first - begin)} ms`);
    if (tokens > 1) parts.push(`${((tokens - 1) / (now - first) * 1000).toFixed(1)} tokens/s`);
  }
  if (tokens > 0) parts.unshift(`${tokens} tokens`);
  if (end) parts.push(end);
  return parts.join(" · ");
}

/** The server's events for the messages before `index`. */
async function* stream(index, signal) {
  const values = readSettings();
  const before = history.slice(0, index);
  const body = {
    model: server.model,
    stream: true,
    stream_options: { include_usage: true },
    ...values.sampling,
    ...(server.chats
      ? {
        messages: chatMessages(before, values.system),
        ...(values.thinking || !server.switchesThinking
          ? {}
          : { chat_template_kwargs: { enable_thinking: false } }),
      }
      : { prompt: before.map(({ content }) => content).join("") }),
  };
  const path = server.chats ? "v1/chat/completions" : "v1/completions";
  const response = await send(path, { method: "POST", body: JSON.stringify(body), signal });
  let rest = "";
  for await (const text of readText(response.body)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

function chatMessages(before, system) {
  const said = before.map(({ role, content }) => ({ role, content }));
  return system === "" ? said : [{ role: "system", content: system }, ...said];
}

/** Streams are not iterable in every browser. */
async function* readText(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(
      inWords("The connection to the server broke"),
    );
    if (done) return;
    yield value;
  }
}

async function call(path) {
  return await (await send(path, {})).json();
}

async function send(path, options) {
  const { key } = readSettings();
  const response = await fetch(path, {
    ...options,
    headers: {
      "content-type": "application/json",
      ...(key && { authorization: `Bearer ${key}` }),
    },
  }).catch(inWords("The server does not answer"));
  if (response.ok) return response;
  if (response.status === 401) {
    const text = key
      ? "The server does not take this API key: correct it under Settings"
      : "The server asks for an API key: enter it under Settings";
    throw Object.assign(new Error(text), { needsKey: true });
  }
  const { error } = await response.json().catch(() => ({}));
  throw new Error(error?.message ?? `The server answered with status ${response.status}`);
}

/** Browsers have words of their own for a connection that fails; a stop is none. */
function inWords(text) {
  return (error) => {
    throw error.name === "AbortError" ? error : new Error(text);
  };
}

/** Puts a message on the page. */
function show(index) {
  const item = byId("message-template").content.firstElementChild.cloneNode(true);
  const message = history[index];
  item.classList.add(message.role);
  item.querySelector(".author").textContent = message.role === "user"
    ? "You"
    : server.model ?? "Model";
  messages.append(item);
  byId("intro").hidden = true;
  paint(item, message);
  if (message.role === "user") addActions(index, item);
  scrollToEnd();
  return item;
}

function paint(item, { content, reasoning = "" }) {
  item.querySelector(".text").textContent = content;
  const thinking = item.querySelector(".thinking");
  thinking.hidden = reasoning === "";
  thinking.querySelector("p").textContent = reasoning;
}

function addActions(index, item) {
  const actions = item.querySelector(".actions");
  actions.replaceChildren();
  const add = (label, act) => {
    const button = Object.assign(document.createElement("button"), {
      type: "button",
      textContent: label,
    });
    button.addEventListener("click", () => running || act());
    actions.append(button);
  };
  if (history[index].role === "user") return add("Edit", () => edit(index, item));
  add("Retry", () => {
    cut(index);
    void answer();
  });
  add("Copy", () => navigator.clipboard?.writeText(history[index].content));
}

/** Lets a message be said in other words; what came after it is forgotten. */
function edit(index, item) {
  const area = Object.assign(document.createElement("textarea"), {
    value: history[index].content,
    rows: 3,
  });
  area.setAttribute("aria-label", "Edit the message");
  const text = item.querySelector(".text");
  text.replaceChildren(area);
  area.focus();
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") paint(item, history[index]);
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || area.value.trim() === "") {
      return;
    }
    event.preventDefault();
    cut(index);
    void say(area.value);
  });
}

/** Forgets a message and what follows. */
function cut(index) {
  history = history.slice(0, index);
  while (messages.children.length > index) messages.lastElementChild.remove();
}

function clear() {
  running?.abort();
  cut(0);
  byId("intro").hidden = false;
  prompt.focus();
}

function showRunning(isRunning) {
  byId("send").hidden = isRunning;
  byId("stop").hidden = !isRunning;
  if (!isRunning) prompt.focus();
}

function isAtEnd() {
  const { scrollHeight, scrollTop, clientHeight } = messages.parentElement;
  return scrollHeight - scrollTop - clientHeight < 80;
}

function scrollToEnd() {
  messages.parentElement.scrollTop = messages.parentElement.scrollHeight;
}

function resizePrompt() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight + 2}px`;
}

function readSettings() {
  const data = new FormData(settings);
  const sampling = {};
  for (const name of ["temperature", "top_p", "top_k", "seed", "max_tokens"]) {
    const text = String(data.get(name) ?? "");
    if (text !== "" && Number.isFinite(Number(text))) sampling[name] = Number(text);
  }
  sampling.max_tokens ??= 256;
  return {
    sampling,
    system: String(data.get("system") ?? "").trim(),
    key: String(data.get("key") ?? ""),
    thinking: data.get("thinking") === "on",
  };
}

function keepSettings({ target }) {
  if (target.name === "key") return;
  const kept = {};
  for (const field of settings.elements) {
    if (field.name && field.name !== "key") {
      kept[field.name] = field.type === "checkbox" ? field.checked : field.value;
    }
  }
  localStorage.setItem("mixline", JSON.stringify(kept));
}

function restoreSettings() {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem("mixline") ?? "{}");
  } catch {
    localStorage.removeItem("mixline");
  }
  for (const field of settings.elements) {
    if (!(field.name in kept)) continue;
    if (field.type === "checkbox") field.checked = kept[field.name] === true;
    else field.value = String(kept[field.name]);
  }
}

function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
