/*
 * What each route is for, in a line: /openapi.json and /docs are made from this table, the table of routes and the endpoint files.
 * A route that is missing here appears without words; tests/server/test_openapi.c asks for them.
 */
#ifndef RG_SERVER_ROUTE_DOCS_H
#define RG_SERVER_ROUTE_DOCS_H

typedef struct route_doc {
    const char *method, *pattern, *tag, *summary;
    const char *query;                  /* "name name:integer": query parameters, all optional */
    const char *body;                   /* NULL: none; "form", "file" (any bytes), else an example or form of the JSON body */
    const char *ok;                     /* the answer: a schema's name ("Job"), "json", "text", "file", "events", "html", "socket", "none" */
    const char *errors;                 /* "400 404": statuses besides those of keys and limits */
    int status;                         /* of success; 0: 200 */
} route_doc;

static const route_doc route_docs[] = {
    { "POST", "/workflow", "endpoints", "Run a workflow and answer with its first picture", NULL,
      "{\"workflow\": GRAPH, \"prompt\": TEXT, \"format\": \"jpeg\", \"metadata\": false}, a bare graph, or a picture that carries one", "picture",
      "400 404 500 501 503 504", 0 },
    { "POST", "/workflow/check", "endpoints", "What keeps a workflow from running, without running it", NULL, "a workflow file", "json", "400 503", 0 },
    { "POST", "/workflow/convert", "endpoints", "The editor's form of a workflow into API form", "details", "a workflow file", "json", "400 503", 0 },
    { "POST", "/jobs", "jobs", "Accept a job and answer at once", NULL,
      "{\"endpoint\": NAME, \"parameters\": {...}}, {\"workflow\": GRAPH, \"prompt\": TEXT} or {\"prompt\": GRAPH}", "Job", "400 403 404 501 503", 202 },
    { "GET", "/jobs", "jobs", "What runs, waits and has ended", "state limit:integer offset:integer", NULL, "JobList", "400", 0 },
    { "GET", "/jobs/{id}", "jobs", "One job", NULL, NULL, "Job", "404", 0 },
    { "DELETE", "/jobs/{id}", "jobs", "Cancel a job: 200 if it waited, 202 if it runs", NULL, NULL, "Job", "404 409", 0 },
    { "GET", "/jobs/{id}/events", "jobs", "What happens to a job, as server-sent events; Last-Event-ID is honoured", NULL, NULL, "events", "404 503", 0 },
    { "GET", "/jobs/{id}/outputs/{n}", "jobs", "The n-th file of a job, from 0", "format width:integer metadata:integer", NULL, "file", "400 404 409", 0 },
    { "GET", "/jobs/{id}/workflow", "jobs", "The graph that a job ran", NULL, NULL, "json", "404", 0 },
    { "GET", "/jobs/{id}/deliveries", "jobs", "What the job's webhook was told", NULL, NULL, "json", "404", 0 },
    { "POST", "/jobs/{id}/deliveries/{n}/retry", "jobs", "Tell its webhook once more", NULL, NULL, "json", "404 409", 202 },
    { "GET", "/endpoints", "operators", "Named endpoints with their parameters, and template files that are no good", NULL, NULL, "json", NULL, 0 },
    { "GET", "/loras", "operators", "LoRA files", NULL, NULL, "json", NULL, 0 },
    { "GET", "/metrics", "operators", "Figures for Prometheus", NULL, NULL, "text", NULL, 0 },
    { "GET", "/health", "operators", "Is it there; with deep=1: what each endpoint lacks", "deep:integer", NULL, "Health", "503", 0 },
    { "GET", "/openapi.json", "operators", "This description", NULL, NULL, "json", NULL, 0 },
    { "GET", "/docs", "operators", "The same for people", NULL, NULL, "html", NULL, 0 },
    { "GET", "/", "page", "The page", NULL, NULL, "html", NULL, 0 },
    { "GET", "/page", "page", "The page, also where another web client stands at /", NULL, NULL, "html", NULL, 0 },
    { "GET", "/page/{file}", "page", "Its files", NULL, NULL, "file", "404", 0 },

    { "POST", "/prompt", "comfyui", "Queue a graph", NULL, "{\"prompt\": GRAPH, \"client_id\": TEXT, \"extra_data\": {...}}", "json", "400", 0 },
    { "GET", "/prompt", "comfyui", "How many wait or run", NULL, NULL, "json", NULL, 0 },
    { "GET", "/queue", "comfyui", "Running and pending items", NULL, NULL, "json", NULL, 0 },
    { "POST", "/queue", "comfyui", "Take out waiting items", NULL, "{\"clear\": true} or {\"delete\": [ID]}", "none", NULL, 0 },
    { "GET", "/history", "comfyui", "What has ended", "max_items:integer offset:integer", NULL, "json", NULL, 0 },
    { "GET", "/history/{prompt_id}", "comfyui", "One entry, or {} until it is done", NULL, NULL, "json", NULL, 0 },
    { "POST", "/history", "comfyui", "Forget entries", NULL, "{\"clear\": true} or {\"delete\": [ID]}", "none", NULL, 0 },
    { "POST", "/interrupt", "comfyui", "Stop what runs", NULL, "{\"prompt_id\": ID} or nothing", "none", NULL, 0 },
    { "POST", "/free", "comfyui", "Let go of models and results", NULL, "{\"unload_models\": true, \"free_memory\": true}", "none", NULL, 0 },
    { "GET", "/ws", "comfyui", "Messages of runs, as a WebSocket", "clientId", NULL, "socket", NULL, 101 },
    { "GET", "/view", "comfyui", "A file of the output, input or temp folder", "filename subfolder type preview channel", NULL, "file", "400 403 404", 0 },
    { "POST", "/upload/image", "comfyui", "A picture into the input folder", NULL, "form", "json", "400", 0 },
    { "POST", "/upload/mask", "comfyui", "A mask for a picture that is there", NULL, "form", "json", "400", 0 },
    { "GET", "/object_info", "comfyui", "Every node class and its inputs", NULL, NULL, "json", NULL, 0 },
    { "GET", "/object_info/{class}", "comfyui", "One node class", NULL, NULL, "json", NULL, 0 },
    { "GET", "/system_stats", "comfyui", "Memory, device, versions", NULL, NULL, "json", NULL, 0 },
    { "GET", "/features", "comfyui", "What the server can do", NULL, NULL, "json", NULL, 0 },
    { "GET", "/embeddings", "comfyui", "Names of embeddings", NULL, NULL, "json", NULL, 0 },
    { "GET", "/extensions", "comfyui", "Scripts of the web client's extensions", NULL, NULL, "json", NULL, 0 },
    { "GET", "/i18n", "comfyui", "Translations: none", NULL, NULL, "json", NULL, 0 },
    { "GET", "/workflow_templates", "comfyui", "Templates of node packs: none", NULL, NULL, "json", NULL, 0 },
    { "GET", "/api/workflow_templates/{pack}/{file}", "comfyui", "A template of a node pack: none", NULL, NULL, "file", "404", 0 },
    { "GET", "/models", "models", "Model folders", "details:integer", NULL, "json", NULL, 0 },
    { "GET", "/models/{folder}", "models", "Files of a model folder", "details:integer", NULL, "json", "404", 0 },
    { "GET", "/models/{folder}/{name}", "models", "One model file: size, digest, what it holds; HEAD: how far an upload is", NULL, NULL, "json", "404", 0 },
    { "PUT", "/models/{folder}/{name}", "models", "Upload a model file, or go on with it (docs/model-files.md)", "overwrite", "file", "json",
      "400 403 404 409 411 413 422 503 507", 201 },
    { "DELETE", "/models/{folder}/{name}", "models", "Delete a model file or a partial upload", NULL, NULL, "json", "403 404 409", 0 },
    { "GET", "/experiment/models/preview/{folder}/{path_index}/{filename}", "models", "A model's picture", NULL, NULL, "file", "404", 0 },
    { "GET", "/templates/{file}", "comfyui", "Workflow templates of the web client", NULL, NULL, "file", "404", 0 },
    { "GET", "/templates/index.json", "comfyui", "Workflow templates of the web client: none", NULL, NULL, "json", NULL, 0 },
    { "GET", "/docs/{file}", "comfyui", "Help texts of nodes for the web client", NULL, NULL, "file", "404", 0 },
    { "GET", "/experiment/models", "models", "Model folders with their paths", NULL, NULL, "json", NULL, 0 },
    { "GET", "/experiment/models/{folder}", "models", "Files of a model folder, with where they lie", NULL, NULL, "json", "404", 0 },
    { "GET", "/view_metadata/{folder}", "models", "The metadata in a safetensors file's header", "filename", NULL, "json", "404", 0 },
    { "GET", "/internal/folder_paths", "comfyui", "Folders by key", NULL, NULL, "json", NULL, 0 },
    { "GET", "/internal/logs", "comfyui", "The log, as text in JSON", NULL, NULL, "json", NULL, 0 },
    { "GET", "/internal/logs/raw", "comfyui", "The log in entries", NULL, NULL, "json", NULL, 0 },
    { "PATCH", "/internal/logs/subscribe", "comfyui", "Have the log sent to a WebSocket", NULL, "{\"enabled\": true, \"clientId\": ID}", "none", NULL, 0 },
    { "GET", "/internal/files/{type}", "comfyui", "Files of the input, output or temp folder, newest first", NULL, NULL, "json", "400", 0 },
    { "GET", "/users", "comfyui", "Profiles", NULL, NULL, "json", NULL, 0 },
    { "POST", "/users", "comfyui", "A new profile", NULL, "{\"username\": TEXT}", "json", "400", 0 },
    { "GET", "/settings", "comfyui", "The web client's settings", NULL, NULL, "json", NULL, 0 },
    { "POST", "/settings", "comfyui", "Change settings", NULL, "{NAME: VALUE}", "none", NULL, 0 },
    { "GET", "/settings/{id}", "comfyui", "One setting", NULL, NULL, "json", NULL, 0 },
    { "POST", "/settings/{id}", "comfyui", "Change one setting", NULL, "VALUE", "none", NULL, 0 },
    { "GET", "/userdata", "comfyui", "Files of the profile", "dir recurse full_info split", NULL, "json", "400 404", 0 },
    { "GET", "/v2/userdata", "comfyui", "Files and folders of the profile", "path", NULL, "json", "400 404", 0 },
    { "GET", "/userdata/{file}", "comfyui", "A file of the profile", NULL, NULL, "file", "400 404", 0 },
    { "POST", "/userdata/{file}", "comfyui", "Write a file of the profile", "overwrite full_info", "file", "json", "400 409", 0 },
    { "DELETE", "/userdata/{file}", "comfyui", "Delete a file of the profile", NULL, NULL, "none", "400 404", 204 },
    { "POST", "/userdata/{file}/move/{dest}", "comfyui", "Move a file of the profile", "overwrite full_info", NULL, "json", "400 404 409", 0 },
};

#endif
