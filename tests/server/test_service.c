/*
 * The service as a client meets it: a server in this process, requests over its socket. On the demo model with few steps:
 * synchronous pictures, refusals by field, jobs, events, cancelling, a client that leaves.
 */
#include <arpa/inet.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/media/picture.h"
#include "server/cost.h"
#include "server/service_inside.h"
#include "tests/test.h"

static char dir[64];
static rg_server *server;
static rg_queue *queue;
static rg_executor *executor;
static rg_service *service;
static rg_env *env;
static rg_ctx *ctx;
static pthread_t loop;

static void *loop_main(void *arg)
{
    rg_server_run(arg);
    return NULL;
}

static void on_job(void *user, const rg_job_event *e)
{
    rg_service_on_job(service, e);
}

static void stop(void)
{
    char command[100];

    if (!server)
        return;
    rg_server_stop(server);
    pthread_join(loop, NULL);
    rg_server_end_workers(server);
    rg_service_stop(service);
    rg_executor_stop(executor);
    rg_queue_close(queue);
    rg_server_free(server);
    rg_service_free(service);
    rg_ctx_free(ctx);
    rg_env_free(env);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0)
        fprintf(stderr, "%s stays\n", dir);
    server = NULL;
}

static void write_text(const char *name, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if ((f = fopen(path, "w"))) {
        fputs(text, f);
        fclose(f);
    }
}

/* Once for all tests: models/demo, workflows/ of the source folder and three odd ones. */
static bool start(void)
{
    static char flows[80];              /* the service keeps it */
    char text[2000], input[80], output[80], state[80];
    static char own_models[80];
    static const char *models[2], *dirs[3];

    if (server)
        return true;
    snprintf(dir, sizeof dir, "/tmp/rg-service-XXXXXX");
    if (!mkdtemp(dir))
        return false;
    snprintf(input, sizeof input, "%s/input", dir);
    snprintf(output, sizeof output, "%s/output", dir);
    snprintf(state, sizeof state, "%s/jobs.db", dir);
    snprintf(flows, sizeof flows, "%s/workflows", dir);
    mkdir(flows, 0777);
    snprintf(own_models, sizeof own_models, "%s/models", dir);
    mkdir(own_models, 0777);
    snprintf(text, sizeof text, "%s/loras", own_models);
    mkdir(text, 0777);
    write_text("workflows/broken.json", "{\"graph\": {}, \"parameters\": [{\"name\": \"x\"}]}");
    write_text("workflows/odd.json", "{\"name\": \"odd\", \"parameters\": [], \"graph\": {\"1\": {\"class_type\": \"NoSuchNode\", \"inputs\": {}}}}");
    write_text("workflows/invert.json", "{\"name\": \"invert\", \"parameters\": [{\"name\": \"image\", \"type\": \"image\", \"required\": true, "
               "\"targets\": [\"1.image\"]}], \"graph\": {\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"\"}}, "
               "\"2\": {\"class_type\": \"ImageInvert\", \"inputs\": {\"image\": [\"1\", 0]}}, "
               "\"3\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"2\", 0], \"filename_prefix\": \"inverted\"}}}}");
    write_text("workflows/one-of.json", "{\"one_of\": [[\"id\", \"name\"]], \"parameters\": [{\"name\": \"id\", \"type\": \"string\", \"default\": \"\", "
               "\"format\": \"character-{}.safetensors\", \"targets\": [\"1.vae_name\"]}, {\"name\": \"name\", \"type\": \"string\", \"default\": \"\", "
               "\"format\": \"{}.safetensors\", \"targets\": [\"1.vae_name\"]}], \"graph\": {\"1\": {\"class_type\": \"VAELoader\", \"inputs\": "
               "{\"vae_name\": \"\"}}, \"2\": {\"class_type\": \"EmptyLatentImage\", \"inputs\": {\"width\": 64, \"height\": 64, \"batch_size\": 1}}, "
               "\"3\": {\"class_type\": \"VAEDecode\", \"inputs\": {\"vae\": [\"1\", 0], \"samples\": [\"2\", 0]}}, \"4\": {\"class_type\": "
               "\"SaveImage\", \"inputs\": {\"images\": [\"3\", 0], \"filename_prefix\": \"x\"}}}}");
    struct json_object *demo = json_object_from_file("workflows/demo.json");
    if (demo) {                         /* the demo with little time */
        json_object_object_add(demo, "name", json_object_new_string("hasty"));
        json_object_object_add(demo, "timeout", json_object_new_double(0.3));
        write_text("workflows/hasty.json", json_object_to_json_string(demo));
        json_object_put(demo);
    }
    write_text("models/loras/tiny.safetensors", "");
    write_text("models/loras/notes.txt", "");
    models[0] = "models/demo";
    dirs[0] = flows;
    dirs[1] = "workflows";
    models[1] = own_models;
    env = rg_env_new(models, 2, input, output);
    ctx = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    queue = rg_queue_open(&(rg_queue_options){ .path = state, .max_queued = 6 }, text, sizeof text);
    service = rg_service_new(&(rg_service_options){ .env = env, .workflow_dirs = dirs }, text, sizeof text);
    CHECK(strstr(text, "broken.json"));
    server = rg_server_new(&(rg_server_options){ .listen = "127.0.0.1", .max_body_bytes = 64 << 20 }, text, sizeof text);
    if (!env || !ctx || !queue || !service || !server)
        return false;
    rg_service_start(service, server, queue);
    executor = rg_executor_start(&(rg_executor_options){ .queue = queue, .env = env, .ctx = ctx, .listener = on_job });
    rg_service_set_executor(service, executor);
    pthread_create(&loop, NULL, loop_main, server);
    atexit(stop);
    return true;
}

/* ---- a client ------------------------------------------------------------------------------------------------------------- */

typedef struct answer {
    int status;
    char *all, *body;
    size_t n_body;
    char value[300];
} answer;

static int open_client(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)rg_server_port(server)),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval most = { 120, 0 };

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    return connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 ? fd : -1;
}

static void send_request(int fd, const char *method, const char *path, const char *headers, const char *body)
{
    char *text = rg_asprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s", method, path,
                             headers ? headers : "", strlen(body), body);
    size_t sent = 0, n = strlen(text);

    while (sent < n) {
        const ssize_t got = send(fd, text + sent, n - sent, MSG_NOSIGNAL);
        if (got <= 0)
            break;
        sent += (size_t)got;
    }
    rg_free(text);
}

static answer read_answer(int fd)
{
    answer a = { .all = calloc(1, 1 << 20) };
    size_t n = 0;
    ssize_t got;

    while (n + 1 < 1 << 20 && (got = recv(fd, a.all + n, (1 << 20) - n - 1, 0)) > 0)
        n += (size_t)got;
    close(fd);
    a.status = n > 12 ? atoi(a.all + 9) : 0;
    a.body = strstr(a.all, "\r\n\r\n");
    a.body = a.body ? a.body + 4 : a.all + n;
    a.n_body = n - (size_t)(a.body - a.all);
    return a;
}

static answer ask(const char *method, const char *path, const char *headers, const char *body)
{
    const int fd = open_client();

    send_request(fd, method, path, headers, body);
    return read_answer(fd);
}

static void check_status(const answer *a, int status, const char *what)
{
    if (a->status != status)
        test_fail(__FILE__, __LINE__, "%s: %d, wanted %d: %.300s", what, a->status, status, a->body);
}

/* A header's value, "" when it is not there. */
static const char *header(answer *a, const char *name)
{
    char line[80], *at;

    snprintf(line, sizeof line, "\r\n%s: ", name);
    a->value[0] = '\0';
    if ((at = strcasestr(a->all, line)) && at < a->body)
        snprintf(a->value, sizeof a->value, "%.*s", (int)strcspn(at + strlen(line), "\r\n"), at + strlen(line));
    return a->value;
}

/* A string member of the JSON body, in a static buffer; "" when it is not there. */
static const char *member(const answer *a, const char *key)
{
    static char text[1500];
    struct json_object *o = json_tokener_parse(a->body), *v;

    text[0] = '\0';
    if (o && json_object_object_get_ex(o, key, &v) && v)
        snprintf(text, sizeof text, "%s", json_object_get_string(v));
    json_object_put(o);
    return text;
}

static void check_refused(const char *path, const char *body, int status, const char *field, const char *in_details)
{
    answer a = ask("POST", path, NULL, body);

    check_status(&a, status, body);
    if (strcmp(member(&a, "field"), field))
        test_fail(__FILE__, __LINE__, "%s: field \"%s\", wanted \"%s\"", body, member(&a, "field"), field);
    if (!strstr(member(&a, "details"), in_details))
        test_fail(__FILE__, __LINE__, "%s: \"%s\" does not say \"%s\"", body, member(&a, "details"), in_details);
    CHECK_STR(member(&a, "path"), path);
    free(a.all);
}

static const char quick[] = "{\"steps\": 1, \"width\": 64, \"height\": 64";

static char *body_of(const char *rest)
{
    static char text[2000];

    snprintf(text, sizeof text, "%s%s}", quick, rest);
    return text;
}

/* ---- the tests -------------------------------------------------------------------------------------------------------------- */

TEST(prices)
{
    CHECK_STR(rg_gpu_key("NVIDIA L40S"), "L40S");
    CHECK_STR(rg_gpu_key("NVIDIA L4"), "L4");
    CHECK_STR(rg_gpu_key("NVIDIA A100-SXM4-80GB"), "A100-80GB");
    CHECK_STR(rg_gpu_key("NVIDIA A100-PCIE-40GB"), "A100-40GB");
    CHECK_STR(rg_gpu_key("NVIDIA H100 80GB HBM3"), "H100");
    CHECK_STR(rg_gpu_key("NVIDIA A10G"), "A10");
    CHECK_STR(rg_gpu_key("Tesla T4"), "T4");
    CHECK(!rg_gpu_key("NVIDIA L40") && !rg_gpu_key("NVIDIA RTX A1000") && !rg_gpu_key("NVIDIA T400"));
    CHECK(rg_gpu_price("T4") == 0.000164 && rg_gpu_price("no such") == 0.000542 && rg_gpu_price(NULL) == 0.000542);
}

TEST(a_picture)
{
    rg_picture *p = NULL;

    CHECK(start());
    answer a = ask("POST", "/demo", NULL, body_of(", \"seed\": \"7\", \"prompt\": \"a red house\", \"colour\": 1"));
    check_status(&a, 200, "demo");
    CHECK_STR(header(&a, "Content-Type"), "image/jpeg");
    CHECK(a.n_body > 3 && !memcmp(a.body, "\xff\xd8\xff", 3));
    CHECK_STR(header(&a, "X-Seed"), "7");
    CHECK_STR(header(&a, "X-GPU-Type"), "CPU");
    CHECK_STR(header(&a, "X-Model"), "flux-demo.safetensors");
    CHECK_STR(header(&a, "X-Ignored-Fields"), "colour");
    CHECK(strlen(header(&a, "X-Job-Id")) == 36);
    const double seconds = atof(header(&a, "X-Execution-Time-Sec"));
    CHECK(seconds > 0 && seconds < 60);
    /* both figures are rounded, to 3 and 6 digits */
    CHECK(fabs(atof(header(&a, "X-Cost-USD")) - seconds * 0.000542) <= 0.0005 * 0.000542 + 0.0000006);
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    CHECK(rg_picture_decode(c, a.body, a.n_body, &p) == 0 && p->width == 64 && p->height == 64);
    rg_picture_free(p);
    rg_ctx_free(c);
    free(a.all);

    a = ask("POST", "/demo", "Accept: image/png\r\n", body_of(", \"seed\": 7, \"prompt\": \"a red house\""));
    check_status(&a, 200, "png");
    CHECK_STR(header(&a, "Content-Type"), "image/png");
    CHECK(a.n_body > 8 && !memcmp(a.body, "\x89PNG", 4));
    CHECK(!memmem(a.body, a.n_body, "red house", 9));        /* no prompt in it unless asked for */
    free(a.all);
    a = ask("POST", "/demo", NULL, body_of(", \"seed\": null, \"format\": \"webp\""));
    check_status(&a, 200, "webp");
    CHECK(a.n_body > 12 && !memcmp(a.body + 8, "WEBP", 4));
    CHECK(strlen(header(&a, "X-Seed")) > 3);                 /* random, below 2^53 */
    free(a.all);
}

TEST(refusals)
{
    CHECK(start());
    check_refused("/demo", "{\"steps\": 0}", 400, "steps", "the least allowed is 1");
    check_refused("/demo", "{\"steps\": \"many\"}", 400, "steps", "many");
    check_refused("/demo", "{\"steps\": null, \"num_inference_steps\": 0}", 400, "steps", "the least allowed is 1");
    check_refused("/one-of", "{}", 400, "id", "id or name is required");
    check_refused("/one-of", "{\"id\": \"7\"}", 404, "id", "character-7.safetensors");
    check_refused("/one-of", "{\"id\": \"character-7\", \"name\": \"8\"}", 404, "name", "8.safetensors");
    check_refused("/demo", "{\"cfg\": true}", 400, "cfg", "cfg wants");
    check_refused("/demo", "{\"seed\": -1}", 400, "seed", "seed");
    check_refused("/demo", "{\"format\": \"gif\"}", 400, "format", "gif");
    check_refused("/demo", "[]", 400, "", "one JSON object");
    check_refused("/demo", "{", 400, "", "not JSON");
    check_refused("/flux-dev", "{}", 400, "prompt", "prompt is required");
    check_refused("/flux-dev", "{\"prompt\": \"x\"}", 404, "", "flux1-dev.safetensors");
    check_refused("/odd", "{}", 501, "", "NoSuchNode");
    check_refused("/wan2", "{\"prompt\": \"x\"}", 501, "", "SaveAnimatedWEBP");
    check_refused("/invert", "{}", 400, "image", "image is required");
    check_refused("/invert", "{\"image\": \"\"}", 400, "image", "image");
    check_refused("/invert", "{\"image\": \"data:image/png;base64,\"}", 400, "image", "image");
    check_refused("/invert", "{\"image\": \"data:image/png;base64,AAAA\"}", 400, "image", "no picture");
    check_refused("/invert", "{\"image\": \"../../etc/passwd\"}", 400, "image", "image");
    check_refused("/workflow", "{}", 400, "workflow", "workflow is required");
    check_refused("/workflow", "{\"workflow\": {\"1\": {\"class_type\": \"NoSuchNode\", \"inputs\": {}}}}", 501, "", "NoSuchNode");
    check_refused("/workflow", "{\"workflow\": {\"1\": {\"class_type\": \"SaveImage\", \"inputs\": {}}}}", 400, "workflow", "images");
    check_refused("/jobs", "{\"endpoint\": \"none\"}", 404, "endpoint", "none");
    answer a = ask("GET", "/jobs/none", NULL, "");
    check_status(&a, 404, "no job");
    free(a.all);
    a = ask("POST", "/demo", NULL, "{\"steps\": 0, \"hue\": 1}");        /* refused before any work: it cost nothing */
    check_status(&a, 400, "headers of a refusal");
    CHECK_STR(header(&a, "X-Cost-USD"), "0.000000");
    CHECK_STR(header(&a, "X-Execution-Time-Sec"), "0.000");
    CHECK_STR(header(&a, "X-GPU-Type"), "CPU");
    free(a.all);
}

/* The name itself beats its alias, as in the deployments before; numbers may be texts. */
TEST(aliases)
{
    CHECK(start());
    answer a = ask("POST", "/demo", NULL, body_of(", \"num_inference_steps\": 5000, \"cfg\": \"1.0\", \"negativePrompt\": \"x\", \"seed\": 7.0"));
    check_status(&a, 200, "aliases");
    CHECK_STR(header(&a, "X-Ignored-Fields"), "num_inference_steps");
    CHECK_STR(header(&a, "X-Seed"), "7");
    free(a.all);
}

TEST(loras)
{
    CHECK(start());
    answer a = ask("GET", "/loras", NULL, "");
    check_status(&a, 200, "loras");
    CHECK(strstr(a.body, "\"loras\": [{\"name\": \"tiny.safetensors\", \"path\": \"/") && strstr(a.body, "\"count\": 1"));
    free(a.all);
}

TEST(a_picture_from_a_picture)
{
    /* two pixels, black and white, as PNG in base64 */
    static const uint8_t rgb[6] = { 0, 0, 0, 255, 255, 255 };
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    rg_picture *p = NULL;
    uint8_t *png;
    size_t n;
    char body[2000], *at;

    CHECK(start());
    CHECK(rg_png_encode(c, rgb, 2, 1, 3, 4, NULL, 0, &png, &n) == 0 && n < 1000);
    at = body + sprintf(body, "{\"format\": \"png\", \"image\": \"data:image/png;base64,");
    for (size_t i = 0; i < n; i += 3) {
        const uint32_t v = (uint32_t)png[i] << 16 | (i + 1 < n ? (uint32_t)png[i + 1] << 8 : 0) | (i + 2 < n ? png[i + 2] : 0);
        *at++ = digits[v >> 18];
        *at++ = digits[v >> 12 & 63];
        *at++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
        *at++ = i + 2 < n ? digits[v & 63] : '=';
    }
    strcpy(at, "\"}");
    answer a = ask("POST", "/invert", NULL, body);
    check_status(&a, 200, "invert");
    CHECK(rg_picture_decode(c, a.body, a.n_body, &p) == 0 && p->width == 2 && p->height == 1);
    CHECK(p && p->rgb[0] == 255 && p->rgb[3] == 0);
    rg_picture_free(p);
    rg_free(png);
    rg_ctx_free(c);
    free(a.all);
}

TEST(workflow)
{
    CHECK(start());
    struct json_object *t = json_object_from_file("workflows/demo.json"), *graph = NULL;
    if (!t)
        SKIP("no workflows folder here; run in the source folder");
    json_object_object_get_ex(t, "graph", &graph);
    json_object_object_add(json_object_object_get(json_object_object_get(graph, "8"), "inputs"), "steps", json_object_new_int(1));
    json_object_object_add(json_object_object_get(json_object_object_get(graph, "7"), "inputs"), "width", json_object_new_int(64));
    char *body = rg_asprintf("{\"workflow\": %s, \"prompt\": \"a blue house\"}", json_object_to_json_string(graph));
    answer a = ask("POST", "/workflow", NULL, body);
    check_status(&a, 200, "workflow");
    CHECK_STR(header(&a, "Content-Type"), "image/jpeg");
    CHECK_STR(header(&a, "X-Seed"), "0");
    char id[80];
    snprintf(id, sizeof id, "%s", header(&a, "X-Job-Id"));
    rg_job *j = rg_queue_get(queue, id);
    const char *first = j ? strstr(j->request, "a blue house") : NULL;
    CHECK(first && strstr(first + 1, "a blue house"));       /* in both text nodes */
    rg_job_free(j);
    rg_free(body);
    free(a.all);
    json_object_put(t);
}

/* Waits until GET path says so (or, absent, does not any more). */
static void wait_text(const char *path, const char *text, bool is_there)
{
    for (int i = 0; i < 500; i++) {
        answer a = ask("GET", path, NULL, "");
        const bool has = strstr(a.body, text) != NULL;
        free(a.all);
        if (has == is_there)
            return;
        usleep(20000);
    }
    test_fail(__FILE__, __LINE__, "%s %s \"%s\"", path, is_there ? "never says" : "still says", text);
}

static void write_small_template(const char *name, const char *route, const char *parameter)
{
    char *text = rg_asprintf("{\"name\": \"%s\", \"route\": \"%s\", \"parameters\": [{\"name\": \"%s\", \"type\": \"int\", \"default\": 16, "
                             "\"min\": 1, \"max\": 64, \"targets\": [\"1.width\"]}], \"graph\": {\"1\": {\"class_type\": \"EmptyImage\", "
                             "\"inputs\": {\"width\": 16, \"height\": 16, \"batch_size\": 1, \"color\": 255}}, \"2\": {\"class_type\": \"SaveImage\", "
                             "\"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"small\"}}}}", name, route, parameter);
    char *path = rg_asprintf("workflows/%s.json", name);

    write_text(path, text);
    rg_free(path);
    rg_free(text);
}

TEST(files_that_come_and_go)
{
    char path[200];

    CHECK(start());
    answer a = ask("POST", "/small", NULL, "{}");
    check_status(&a, 404, "not there yet");
    free(a.all);
    write_small_template("small", "/small", "width");
    wait_text("/endpoints", "\"/small\"", true);
    a = ask("POST", "/small", NULL, "{\"width\": 20, \"size\": 3}");
    check_status(&a, 200, "small");
    CHECK_STR(header(&a, "X-Ignored-Fields"), "size");
    free(a.all);
    a = ask("GET", "/small", NULL, "");
    check_status(&a, 405, "GET of an endpoint");
    CHECK_STR(header(&a, "Allow"), "POST");
    free(a.all);

    write_small_template("small", "/small", "size");         /* changed */
    wait_text("/endpoints", "\"size\"", true);
    a = ask("POST", "/small", NULL, "{\"size\": 21, \"width\": 3}");
    check_status(&a, 200, "small, changed");
    CHECK_STR(header(&a, "X-Ignored-Fields"), "width");
    free(a.all);

    write_text("workflows/small.json", "{\"graph\": {}, \"parameters\": [");     /* broken: the version before stays */
    wait_text("/endpoints", "\"file\": \"small.json\"", true);
    a = ask("POST", "/small", NULL, "{\"size\": 22}");
    check_status(&a, 200, "small, broken");
    free(a.all);
    write_small_template("small", "/small", "edge");
    wait_text("/endpoints", "\"file\": \"small.json\"", false);
    check_refused("/small", "{\"edge\": 65}", 400, "edge", "the most allowed is 64");

    write_small_template("small-too", "/small", "width");    /* its route is taken, until the other goes */
    wait_text("/endpoints", "its route /small is taken by", true);
    snprintf(path, sizeof path, "%s/workflows/small.json", dir);
    unlink(path);
    wait_text("/endpoints", "its route /small is taken by", false);
    check_refused("/small", "{\"width\": 65}", 400, "width", "the most allowed is 64");
    snprintf(path, sizeof path, "%s/workflows/small-too.json", dir);
    unlink(path);
    wait_text("/endpoints", "\"/small\"", false);
    a = ask("POST", "/small", NULL, "{}");
    check_status(&a, 404, "gone");
    free(a.all);
}

/* One host for each endpoint, as the first deployments had: POST / there. */
static void a_host_per_endpoint(void)
{
    static const struct { const char *host; int status; } hosts[] = {
        { "ws--ryla-comfyui-comfyui-odd.modal.run", 501 }, { "ws--x-flux-dev.modal.run:443", 400 }, { "odd", 501 },
        { "ws--xodd.modal.run", 404 }, { "127.0.0.1:1", 404 },
    };

    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        const int fd = open_client();
        char request[200];
        snprintf(request, sizeof request, "POST / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", hosts[i].host);
        CHECK(send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
        answer a = read_answer(fd);
        check_status(&a, hosts[i].status, hosts[i].host);
        free(a.all);
    }
}

TEST(files_against_the_node_table)
{
    CHECK(start());
    write_small_template("taken", "/jobs", "width");
    write_text("workflows/no-input.json", "{\"parameters\": [{\"name\": \"w\", \"type\": \"int\", \"default\": 1, \"targets\": [\"1.breadth\"]}], "
               "\"graph\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"breadth\": 1}}}}");
    write_text("workflows/no-type.json", "{\"parameters\": [{\"name\": \"w\", \"type\": \"string\", \"default\": \"x\", \"targets\": [\"1.width\"]}], "
               "\"graph\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": \"x\"}}}}");
    write_text("workflows/no-link.json", "{\"parameters\": [], \"graph\": {\"1\": {\"class_type\": \"SaveImage\", "
               "\"inputs\": {\"filename_prefix\": \"x\"}}}}");
    write_text("workflows/no-output.json", "{\"parameters\": [], \"graph\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {}}}}");
    wait_text("/endpoints", "a EmptyImage has no input breadth", true);
    wait_text("/endpoints", "target 1.width is of type INT", true);
    wait_text("/endpoints", "node 1 (SaveImage): Required input is missing: images", true);
    wait_text("/endpoints", "no-output.json", true);
    wait_text("/endpoints", "its route /jobs is taken by the server itself", true);
    a_host_per_endpoint();
}

static void wait_for(const char *path, const char *state)
{
    for (int i = 0; i < 600; i++) {
        answer a = ask("GET", path, NULL, "");
        const bool is_there = !strcmp(member(&a, "state"), state);
        free(a.all);
        if (is_there)
            return;
        usleep(20000);
    }
    test_fail(__FILE__, __LINE__, "%s is not %s", path, state);
}

TEST(jobs)
{
    char path[120], other[120], events[160], output[160];

    CHECK(start());
    /* a long one runs, another waits */
    answer a = ask("POST", "/demo", "Prefer: respond-async\r\n", "{\"steps\": 5000, \"seed\": 1}");
    check_status(&a, 202, "async");
    CHECK_STR(header(&a, "Preference-Applied"), "respond-async");
    CHECK_STR(header(&a, "X-Seed"), "1");
    CHECK_STR(header(&a, "X-Cost-USD"), "");                 /* not known yet */
    snprintf(path, sizeof path, "%s", header(&a, "Location"));
    free(a.all);
    wait_for(path, "running");
    a = ask("POST", "/jobs", "Idempotency-Key: once\r\n",
             "{\"endpoint\": \"demo\", \"parameters\": {\"steps\": 2, \"width\": 64, \"height\": 64, \"seed\": 3}}");
    check_status(&a, 202, "job");
    CHECK_STR(member(&a, "state"), "queued");
    CHECK_STR(member(&a, "position"), "0");
    snprintf(other, sizeof other, "%s", header(&a, "Location"));
    free(a.all);
    a = ask("POST", "/jobs", "Idempotency-Key: once\r\n", "{\"endpoint\": \"demo\"}");
    check_status(&a, 200, "the same key");
    CHECK_STR(header(&a, "Location"), other);
    free(a.all);
    snprintf(output, sizeof output, "%s/outputs/0", other);
    a = ask("GET", output, NULL, "");
    check_status(&a, 409, "not ready");
    free(a.all);
    a = ask("GET", "/jobs?state=queued", NULL, "");
    CHECK_STR(member(&a, "count"), "1");
    free(a.all);

    /* a stream opened before the job runs hears all of it */
    snprintf(events, sizeof events, "%s/events", other);
    const int stream = open_client();
    send_request(stream, "GET", events, NULL, "");
    a = ask("GET", "/health", NULL, "");
    check_status(&a, 200, "health while a job runs");
    CHECK_STR(member(&a, "running"), "1");
    free(a.all);

    for (int i = 0, step = 0; i < 500 && step < 1; i++) {   /* it is to cost something */
        a = ask("GET", path, NULL, "");
        step = atoi(member(&a, "step"));
        free(a.all);
        usleep(10000);
    }
    a = ask("DELETE", path, NULL, "");
    CHECK(a.status == 202 || a.status == 200);
    free(a.all);
    wait_for(path, "cancelled");
    a = ask("GET", path, NULL, "");
    CHECK(atof(member(&a, "cost_usd")) > 0);        /* the sampler ran for a while */
    free(a.all);
    a = ask("DELETE", path, NULL, "");
    check_status(&a, 409, "cancelled twice");
    free(a.all);
    wait_for(other, "done");
    a = read_answer(stream);
    check_status(&a, 200, "events");
    CHECK_STR(header(&a, "Content-Type"), "text/event-stream");
    CHECK(strstr(a.body, "event: job\n") && strstr(a.body, "-1\nevent: state\n") && strstr(a.body, "event: node\n"));
    CHECK(strstr(a.body, "\"step\": 2, \"steps\": 2") && strstr(a.body, "event: end\n") && strstr(a.body, "\"state\": \"done\""));
    char last[80];                      /* again, from the third on */
    const char *first_id = strstr(a.body, "id: ");
    snprintf(last, sizeof last, "Last-Event-ID: %.*s2\r\n", (int)strcspn(first_id ? first_id + 4 : "", "-") + 1, first_id ? first_id + 4 : "");
    free(a.all);
    a = ask("GET", events, last, "");
    CHECK(!strstr(a.body, "-2\n") && strstr(a.body, "-3\n") && strstr(a.body, "event: end\n") && !strstr(a.body, "event: job\n"));
    free(a.all);
    a = ask("GET", events, "Last-Event-ID: 17-2\r\n", "");  /* of a process before this one: all of it */
    CHECK(strstr(a.body, "-1\n") && strstr(a.body, "-3\n") && strstr(a.body, "event: end\n"));
    free(a.all);
    a = ask("GET", output, NULL, "");
    check_status(&a, 200, "output");
    CHECK(!memcmp(a.body, "\x89PNG", 4));
    CHECK(!memmem(a.body, a.n_body, "class_type", 10));      /* nothing of the request is in it, */
    free(a.all);
    snprintf(output, sizeof output, "%s/outputs/0?metadata=1", other);
    a = ask("GET", output, NULL, "");
    CHECK(a.status == 200 && memmem(a.body, a.n_body, "class_type", 10));    /* unless one asks */
    free(a.all);
    snprintf(output, sizeof output, "%s/outputs/0?format=jpeg", other);
    a = ask("GET", output, NULL, "");
    CHECK(a.status == 200 && !memcmp(a.body, "\xff\xd8\xff", 3));
    free(a.all);
    snprintf(output, sizeof output, "%s/outputs/7", other);
    a = ask("GET", output, NULL, "");
    check_status(&a, 404, "output 7");
    free(a.all);
}

TEST(overload_and_leaving)
{
    char path[120];
    rg_queue_counts counts;

    CHECK(start());
    answer a = ask("POST", "/demo", "Prefer: respond-async\r\n", "{\"steps\": 5000}");
    snprintf(path, sizeof path, "%s", header(&a, "Location"));
    free(a.all);
    wait_for(path, "running");
    /* one that waits for its answer and leaves: its job is cancelled while it is queued */
    const int fd = open_client();
    send_request(fd, "POST", "/demo", NULL, "{\"steps\": 1}");
    for (int i = 0; i < 200; i++) {
        rg_queue_count(queue, &counts);
        if (counts.queued == 1)
            break;
        usleep(10000);
    }
    CHECK_INT(counts.queued, 1);
    close(fd);
    for (int i = 0; i < 200; i++) {
        rg_queue_count(queue, &counts);
        if (counts.queued == 0)
            break;
        usleep(10000);
    }
    CHECK_INT(counts.queued, 0);
    for (int i = 0; i < 7; i++) {       /* six may wait */
        a = ask("POST", "/jobs", NULL, "{\"endpoint\": \"demo\"}");
        check_status(&a, i < 6 ? 202 : 503, "queue");
        if (i == 6)
            CHECK(atoi(header(&a, "Retry-After")) >= 1);
        free(a.all);
    }
    CHECK_INT(rg_executor_cancel_waiting(executor), 6);
    a = ask("DELETE", path, NULL, "");
    free(a.all);
    wait_for(path, "cancelled");
}

/* Several may wait for one job: it is cancelled when the last of them leaves, and not at all when it was made to run by itself. */
TEST(leaving_together)
{
    char path[120];
    struct json_object *o;

    CHECK(start());
    for (int is_detached = 0; is_detached < 2; is_detached++) {
        const char *key = is_detached ? "Idempotency-Key: alone\r\n" : "Idempotency-Key: together\r\n";
        int fd[2];
        if (is_detached) {
            answer a = ask("POST", "/jobs", key, "{\"endpoint\": \"demo\", \"parameters\": {\"steps\": 5000}}");
            check_status(&a, 202, "detached");
            free(a.all);
        }
        for (int i = 0; i < 2; i++) {
            fd[i] = open_client();
            send_request(fd[i], "POST", "/demo", key, "{\"steps\": 5000}");
            wait_text("/jobs?state=running", "\"count\": 1", true);
        }
        answer a = ask("GET", "/jobs?state=running", NULL, "");
        o = json_tokener_parse(a.body);
        struct json_object *jobs = NULL, *id = NULL;
        json_object_object_get_ex(o, "jobs", &jobs);
        json_object_object_get_ex(json_object_array_get_idx(jobs, 0), "id", &id);
        snprintf(path, sizeof path, "/jobs/%s", json_object_get_string(id));
        json_object_put(o);
        free(a.all);
        for (int i = 0; i < 100; i++) {                     /* both are in */
            pthread_mutex_lock(&service->lock);
            int n = 0;
            for (waiter *w = service->waiting; w; w = w->next)
                n += strstr(path, w->id) != NULL;
            pthread_mutex_unlock(&service->lock);
            if (n == 2)
                break;
            usleep(20000);
        }
        close(fd[0]);
        usleep(50000);
        wait_for(path, "running");
        close(fd[1]);
        if (is_detached) {
            usleep(50000);
            wait_for(path, "running");
            a = ask("DELETE", path, NULL, "");
            free(a.all);
        }
        wait_for(path, "cancelled");
    }
}

/* Not only samplers look whether somebody wants them to stop: so do decoding, and loading between two tensors. */
TEST(cancelled_while_decoding)
{
    char path[120];

    CHECK(start());
    answer a = ask("POST", "/jobs", NULL,
                   "{\"prompt\": {\"1\": {\"class_type\": \"VAELoader\", \"inputs\": {\"vae_name\": \"ae-demo.safetensors\"}}, "
                   "\"2\": {\"class_type\": \"EmptySD3LatentImage\", \"inputs\": {\"width\": 2048, \"height\": 2048, \"batch_size\": 1}}, "
                   "\"3\": {\"class_type\": \"VAEDecode\", \"inputs\": {\"samples\": [\"2\", 0], \"vae\": [\"1\", 0]}}, "
                   "\"4\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"3\", 0], \"filename_prefix\": \"never\"}}}}");
    check_status(&a, 202, a.body);
    snprintf(path, sizeof path, "%s", header(&a, "Location"));
    free(a.all);
    wait_text(path, "\"class_type\": \"VAEDecode\"", true);
    a = ask("DELETE", path, NULL, "");
    check_status(&a, 202, "cancel while decoding");
    free(a.all);
    wait_for(path, "cancelled");
    a = ask("GET", path, NULL, "");
    CHECK(strstr(a.body, "\"outputs\": []"));
    free(a.all);
}

TEST(timeout_and_twins)
{
    char path[200], id[80];

    CHECK(start());
    answer a = ask("POST", "/hasty", NULL, "{\"steps\": 5000}");
    check_status(&a, 504, "hasty");
    snprintf(id, sizeof id, "%s", header(&a, "X-Job-Id"));
    snprintf(path, sizeof path, "/jobs/%s", id);
    free(a.all);
    wait_for(path, "cancelled");

    /* two of one key at once, and a third when it is done: one job */
    const int first = open_client(), second = open_client();
    char *body = body_of(", \"seed\": 11");
    send_request(first, "POST", "/demo", "Idempotency-Key: twin\r\n", body);
    send_request(second, "POST", "/demo", "Idempotency-Key: twin\r\n", body);
    a = read_answer(first);
    answer b = read_answer(second), c = ask("POST", "/demo", "Idempotency-Key: twin\r\n", body);
    check_status(&a, 200, "first");
    check_status(&b, 200, "second");
    check_status(&c, 200, "third");
    snprintf(id, sizeof id, "%s", header(&a, "X-Job-Id"));
    CHECK_STR(header(&b, "X-Job-Id"), id);
    CHECK_STR(header(&c, "X-Job-Id"), id);
    CHECK(a.n_body == c.n_body && !memcmp(a.body, c.body, a.n_body));
    free(a.all);
    free(b.all);
    free(c.all);
}

TEST(operators)
{
    CHECK(start());
    answer a = ask("GET", "/health?deep=1", NULL, "");
    check_status(&a, 200, "deep");
    CHECK(strstr(a.body, "diffusion_models/flux1-dev.safetensors") && strstr(a.body, "NoSuchNode"));
    free(a.all);
    a = ask("GET", "/metrics", NULL, "");
    check_status(&a, 200, "metrics");
    CHECK(strstr(a.body, "rylagraph_jobs{state=\"queued\"} 0\n") && strstr(a.body, "rylagraph_cost_usd_total{gpu=\"CPU\"}"));
    free(a.all);
    a = ask("GET", "/endpoints", NULL, "");
    CHECK(strstr(a.body, "\"/flux-dev\"") && strstr(a.body, "\"missing_nodes\": \"NoSuchNode\""));
    free(a.all);
}
