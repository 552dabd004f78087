/*
 * A whole server inside this process: every route, the queue, the executor and the loop, in a folder of its own that goes away at
 * the end. For tests and fuzzing that want the sanitizers to see both ends.
 */
#ifndef RG_TESTS_SERVER_WHOLE_H
#define RG_TESTS_SERVER_WHOLE_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/media/picture.h"
#include "graph/json_text.h"
#include "server/comfy.h"
#include "server/models.h"
#include "server/page.h"
#include "server/service.h"

typedef struct whole_server {
    char dir[64];
    rg_env *env;
    rg_ctx *ctx;
    rg_comfy *comfy;
    rg_service *service;
    rg_models *models;
    rg_server *server;
    rg_queue *queue;
    rg_executor *executor;
    pthread_t loop;
    int port;
} whole_server;

static void *whole_loop(void *arg)
{
    rg_server_run(arg);
    return NULL;
}

static void whole_on_job(void *user, const rg_job_event *e)
{
    const whole_server *w = user;

    rg_comfy_on_job(w->comfy, e);
    rg_service_on_job(w->service, e);
}

static void whole_write(const whole_server *w, const char *name, const void *bytes, size_t n)
{
    char path[200];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    if ((f = fopen(path, "wb"))) {
        fwrite(bytes, 1, n, f);
        fclose(f);
    }
}

/* A small picture: width x height, reddish, with a little of everything. rg_free() it. */
static uint8_t *whole_picture(rg_ctx *c, int width, int height, size_t *n)
{
    uint8_t *pixels = malloc((size_t)width * (size_t)height * 4), *bytes = NULL;

    for (int i = 0; i < width * height * 4; i++)
        pixels[i] = (uint8_t)(i % 4 == 0 ? 200 : i * 7);
    *n = 0;
    rg_png_encode(c, pixels, width, height, 4, 4, NULL, 0, &bytes, n);
    free(pixels);
    return bytes;
}

/*
 * Start it: folders, one picture in input, two endpoints (/blank makes a picture, /invert takes one), a model folder with a small
 * safetensors file, a web client folder. Jobs may take `job_bytes` of memory.
 */
static bool whole_start(whole_server *w, rg_server_options o, size_t job_bytes)
{
    static const char *const folders[] = { "input", "output", "temp", "user", "flows", "models", "models/loras", "www", "www/extensions" };
    static const char blank[] = "{\"name\": \"blank\", \"parameters\": [{\"name\": \"size\", \"type\": \"int\", \"default\": 16, \"min\": 1, \"max\": 512, "
        "\"targets\": [\"1.width\", \"1.height\"]}, {\"name\": \"seed\", \"type\": \"int\", \"default\": 0, \"targets\": [\"1.color\"], \"max\": 16777215}], "
        "\"graph\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 16, \"height\": 16, \"batch_size\": 1, \"color\": 0}}, "
        "\"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"blank\"}}}}";
    static const char invert[] = "{\"name\": \"invert\", \"parameters\": [{\"name\": \"image\", \"type\": \"image\", \"required\": true, "
        "\"targets\": [\"1.image\"]}], \"graph\": {\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"\"}}, "
        "\"2\": {\"class_type\": \"ImageInvert\", \"inputs\": {\"image\": [\"1\", 0]}}, "
        "\"3\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"2\", 0], \"filename_prefix\": \"inverted\"}}}}";
    static const char weights[] = "\x4f\0\0\0\0\0\0\0{\"__metadata__\":{\"a\":\"b\"},\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}\0\0\0\0";
    static rg_comfy_options c;          /* the comfy and service keep pointers into these */
    static rg_service_options v;
    static char input[80], output[80], models[80], flows[80], user[80], www[80], state[80], temp[80];
    static const char *model_dirs[1], *flow_dirs[2];
    char text[2000], path[128];
    size_t n;

    memset(w, 0, sizeof *w);
    strcpy(w->dir, "/tmp/rg-whole-XXXXXX");
    if (!mkdtemp(w->dir))
        return false;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", w->dir, folders[i]);
        mkdir(path, 0777);
    }
    snprintf(input, sizeof input, "%s/input", w->dir);
    snprintf(output, sizeof output, "%s/output", w->dir);
    snprintf(models, sizeof models, "%s/models", w->dir);
    snprintf(flows, sizeof flows, "%s/flows", w->dir);
    snprintf(user, sizeof user, "%s/user", w->dir);
    snprintf(www, sizeof www, "%s/www", w->dir);
    snprintf(temp, sizeof temp, "%s/temp", w->dir);
    snprintf(state, sizeof state, "%s/jobs.db", w->dir);
    whole_write(w, "flows/blank.json", blank, sizeof blank - 1);
    whole_write(w, "flows/invert.json", invert, sizeof invert - 1);
    whole_write(w, "models/loras/small.safetensors", weights, sizeof weights - 1);
    whole_write(w, "www/index.html", "<!doctype html><title>x</title>", 31);
    whole_write(w, "www/extensions/a.js", "export {}", 9);
    model_dirs[0] = models;
    flow_dirs[0] = flows;
    w->env = rg_env_new(model_dirs, 1, input, output);
    w->ctx = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    if (!w->env || !w->ctx)
        return false;
    rg_free(w->env->temp_dir);
    w->env->temp_dir = rg_strdup(temp);
    uint8_t *picture = whole_picture(w->ctx, 12, 8, &n);
    whole_write(w, "input/in.png", picture, n);
    rg_free(picture);
    if (job_bytes)
        rg_ctx_set_limit(w->ctx, job_bytes);
    c = (rg_comfy_options){ .env = w->env, .device = &w->ctx->device, .user_dir = user, .max_upload_bytes = o.max_body_bytes,
                            .preview_method = RG_PREVIEW_LATENT2RGB, .preview_size = 64, .front_end_root = www };
    v = (rg_service_options){ .env = w->env, .workflow_dirs = flow_dirs, .timeout_seconds = 20 };
    w->comfy = rg_comfy_new(&c);
    w->service = rg_service_new(&v, text, sizeof text);
    if (*text) {
        fprintf(stderr, "templates: %s\n", text);
        return false;
    }
    w->models = rg_models_new(&(rg_models_options){ .env = w->env, .has_quota = true, .quota_bytes = 64 << 20, .max_file_bytes = 16 << 20 });
    o.listen = o.listen ? o.listen : "127.0.0.1";
    o.static_root = www;
    o.user = w->comfy;
    o.on_open = rg_comfy_on_open;
    o.on_text = rg_comfy_on_text;
    o.on_close = rg_comfy_on_close;
    w->server = rg_server_new(&o, text, sizeof text);
    w->queue = rg_queue_open(&(rg_queue_options){ .path = state, .max_queued = 64, .max_ended = 200 }, text, sizeof text);
    if (!w->comfy || !w->service || !w->models || !w->server || !w->queue) {
        fprintf(stderr, "whole server: %s\n", text);
        return false;
    }
    rg_comfy_start(w->comfy, w->server, w->queue);
    rg_service_start(w->service, w->server, w->queue);
    rg_page_start(w->server, true);
    rg_models_start(w->models, w->server);
    w->executor = rg_executor_start(&(rg_executor_options){ .queue = w->queue, .env = w->env, .ctx = w->ctx, .listener = whole_on_job,
                                                            .listener_user = w, .cache_entries = 8 });
    if (!w->executor)
        return false;
    rg_comfy_set_executor(w->comfy, w->executor);
    rg_service_set_executor(w->service, w->executor);
    rg_models_set_executor(w->models, w->executor);
    w->port = rg_server_port(w->server);
    return pthread_create(&w->loop, NULL, whole_loop, w->server) == 0;
}

static void whole_stop(whole_server *w)
{
    char command[100];

    rg_server_stop(w->server);
    pthread_join(w->loop, NULL);
    rg_server_end_workers(w->server);
    rg_models_stop(w->models);
    rg_service_stop(w->service);
    rg_executor_stop(w->executor);
    rg_queue_close(w->queue);
    rg_server_free(w->server);
    rg_service_free(w->service);
    rg_models_free(w->models);
    rg_comfy_free(w->comfy);
    rg_ctx_free(w->ctx);
    rg_env_free(w->env);
    snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
    if (system(command) != 0)
        fprintf(stderr, "%s stays\n", w->dir);
}

#endif
