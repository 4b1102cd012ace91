/**
 * The web application: guards, routes, errors.
 *
 * @module
 */

import {
  bodyLimit,
  type Context,
  cors,
  type MiddlewareHandler,
  OpenAPIHono,
} from "../deps/hono.ts";
import { RequestError } from "../graph/mod.ts";
import { answerChat, prepareChat, streamChat } from "./api/chat.ts";
import { answerCompletion, prepareCompletion, streamCompletion } from "./api/completions.ts";
import {
  expertsOf,
  healthOf,
  listModels,
  modelOf,
  readMetrics,
  textOf,
  tokensOf,
} from "./api/model_routes.ts";
import {
  chatRoute,
  completionRoute,
  detokenizeRoute,
  expertsRoute,
  healthRoute,
  liveRoute,
  modelRoute,
  modelsRoute,
  readyRoute,
  responsesRoute,
  tokenizeRoute,
} from "./api/routes.ts";
import { answerResponse, prepareResponse, responseError, streamResponse } from "./api/responses.ts";
import {
  answerOnce,
  answerStream,
  checkModel,
  logFailure,
  named,
  observeDuration,
  type RequestVariables,
  routeOf,
  type Service,
} from "./api/service.ts";
import { isStream } from "./api/sse.ts";
import { answerError } from "./errors.ts";
import { hostGuard, keyGuard, securityHeaders } from "./guard.ts";
import { addPage } from "./page.ts";

/** Variables of a request. */
type Environment = { Variables: RequestVariables };

/** Title and version of the API's description. */
const OPENAPI = {
  openapi: "3.1.0",
  info: {
    title: "Mixline",
    version: "1",
    description: "A mixture-of-experts language model behind OpenAI's API",
  },
};

/** Makes the application of a service. */
export function createApp(service: Service): OpenAPIHono<Environment> {
  const app = new OpenAPIHono<Environment>({
    // Bodies that break their schema are raised, and answered below like any other error.
    defaultHook(result) {
      if (!result.success) throw result.error;
    },
  });
  app.use(identify(service), securityHeaders);
  const { allowedOrigins } = service.settings;
  if (allowedOrigins.length > 0) {
    // In a list of origins the framework takes "*" for one of them.
    app.use(cors({ origin: allowedOrigins.includes("*") ? "*" : [...allowedOrigins] }));
  }
  app.use(hostGuard(service.settings), keyGuard(service.settings), jsonOnly, limitBody(service));
  addGeneration(app, service);
  addFacts(app, service);
  addPage(app);
  app.doc31("/openapi.json", OPENAPI);
  app.notFound((context) => answerError(context, noRoute(app, context)));
  app.onError((error, context) => {
    logFailure(service, context, error);
    return answerError(context, error);
  });
  return app;
}

/** A path without what base URLs have too much or too little of. */
function bare(path: string): string {
  return path.replace(/^(\/v1)+(?=\/)|\/+$/g, "");
}

/** What is wrong with a request that no route takes: its path, or only its method. */
function noRoute(app: OpenAPIHono<Environment>, context: Context): RequestError {
  const { method, path } = context.req;
  const methods = app.routes.filter((route) => route.method !== "ALL" && route.path === path)
    .map((route) => route.method);
  const got = `${method} "${path.slice(0, 200)}"`;
  if (methods.length === 0) {
    const meant = app.routes.map((route) => route.path)
      .find((each) => bare(each) !== "" && bare(each) === bare(path.slice(0, 200)));
    return new RequestError(
      "request/not-found",
      `Cannot find a route: expected a path that GET /openapi.json lists, got ${got}`,
      { status: 404, ...(meant !== undefined && { hint: `Did you mean "${meant}"?` }) },
    );
  }
  const allowed = [...new Set(methods)].join(", ");
  context.header("allow", allowed);
  return new RequestError(
    "request/method",
    `Cannot answer the request: expected method ${allowed}, got ${got}`,
    { status: 405 },
  );
}

function addGeneration(app: OpenAPIHono<Environment>, service: Service): void {
  app.openapi(chatRoute, async (context) => {
    const request = named(service, context.req.valid("json"));
    const prepared = prepareChat(service, request);
    const id = `chatcmpl-${context.get("requestId")}`;
    if (request.stream) {
      return await answerStream(
        service,
        context,
        (admitted) => streamChat(service, id, request, prepared, admitted),
        { last: "[DONE]" },
      );
    }
    return await answerOnce(
      service,
      context,
      async (admitted) =>
        context.json(await answerChat(service, id, request, prepared, admitted), 200),
    );
  });
  app.openapi(responsesRoute, async (context) => {
    const request = named(service, context.req.valid("json"));
    const prepared = prepareResponse(service, request);
    const id = `resp_${context.get("requestId")}`;
    if (request.stream) {
      return await answerStream(
        service,
        context,
        (admitted) => streamResponse(service, id, request, prepared, admitted),
        { errorEvent: responseError },
      );
    }
    return await answerOnce(
      service,
      context,
      async (admitted) =>
        context.json(await answerResponse(service, id, request, prepared, admitted), 200),
    );
  });
  app.openapi(completionRoute, async (context) => {
    const request = named(service, context.req.valid("json"));
    const prepared = prepareCompletion(request);
    const id = `cmpl-${context.get("requestId")}`;
    if (request.stream) {
      return await answerStream(
        service,
        context,
        (admitted) => streamCompletion(service, id, request, prepared, admitted),
        { last: "[DONE]" },
      );
    }
    return await answerOnce(
      service,
      context,
      async (admitted) =>
        context.json(await answerCompletion(service, id, request, prepared, admitted), 200),
    );
  });
}

function addFacts(app: OpenAPIHono<Environment>, service: Service): void {
  app.openapi(modelsRoute, (context) => context.json(listModels(service), 200));
  app.openapi(modelRoute, (context) => {
    checkModel(service, context.req.valid("param").model);
    return context.json(modelOf(service), 200);
  });
  app.openapi(
    tokenizeRoute,
    async (context) => context.json(await tokensOf(service, context.req.valid("json")), 200),
  );
  app.openapi(
    detokenizeRoute,
    async (context) => context.json(await textOf(service, context.req.valid("json")), 200),
  );
  app.openapi(expertsRoute, async (context) => context.json(await expertsOf(service), 200));
  for (const route of [healthRoute, readyRoute]) {
    app.openapi(route, (context) => {
      const health = healthOf(service);
      return context.json(health, health.status === "ok" ? 200 : 503);
    });
  }
  app.openapi(liveRoute, (context) => context.json({ ...healthOf(service), status: "ok" }, 200));
  app.get("/metrics", async (context) => {
    context.header("content-type", "text/plain; version=0.0.4; charset=utf-8");
    return context.body(await readMetrics(service));
  });
}

/** Gives every request an id, counts it and logs one line when it is answered. */
function identify(service: Service): MiddlewareHandler<Environment> {
  return async (context, next) => {
    const given = context.req.header("x-request-id") ?? "";
    const requestId = /^[\w-]{1,64}$/.test(given) ? given : crypto.randomUUID().replaceAll("-", "");
    context.set("requestId", requestId);
    context.set("begin", performance.now());
    context.header("x-request-id", requestId);
    await next();
    const { method, path } = context.req;
    const { status } = context.res;
    service.metrics.requests.inc({ route: routeOf(context), status });
    // A stream has only begun.
    if (!isStream(context.res)) observeDuration(service, context);
    const milliseconds = Math.round(performance.now() - context.get("begin"));
    service.log.debug("{method} {path} {status} in {milliseconds} ms, request {requestId}", {
      method,
      path,
      status,
      milliseconds,
      requestId,
    });
  };
}

/** A form of a foreign page can send a text without asking first; JSON it can not. */
const jsonOnly: MiddlewareHandler = async (context, next) => {
  if (context.req.method !== "POST") return await next();
  const type = context.req.header("content-type") ?? "";
  if (/^application\/json\s*(;|$)/i.test(type)) return await next();
  return answerError(
    context,
    new RequestError(
      "request/content-type",
      `Cannot read the request: expected content-type application/json, got "${
        type.slice(0, 100)
      }"`,
      { status: 415 },
    ),
  );
};

function limitBody({ settings: { maxBodyBytes } }: Service): MiddlewareHandler {
  return bodyLimit({
    maxSize: maxBodyBytes,
    onError: (context) =>
      answerError(
        context,
        new RequestError(
          "request/too-large",
          `Cannot read the request: expected a body of at most ${maxBodyBytes} bytes, got a larger one`,
          { status: 413, hint: "Shorten it, or serve with a larger --max-body-bytes" },
        ),
      ),
  });
}
