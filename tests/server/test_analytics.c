/* Analytics: batches as PostHog takes them, a host that hangs, and the events of a server by their agreed names and properties. */
#include "server/analytics.h"
#include "server/service_inside.h"
#include "tests/receiver.h"
#include "tests/server/client.h"

static void take(receiver *r, int fd, const received *q, int i)
{
    receiver_reply(fd, 200, "", "{\"status\": 1}", 13);
}

static void hang(receiver *r, int fd, const received *q, int i)
{
    receiver_sleep(r, 60);
}

static void refuse_once(receiver *r, int fd, const received *q, int i)
{
    receiver_reply(fd, i == 0 ? 503 : 200, "", "", 0);
}

static struct json_object *member(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

/* All events that came so far, in one array; json_object_put() it. */
static struct json_object *events_of(receiver *r)
{
    struct json_object *all = json_object_new_array();

    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < r->n; i++) {
        struct json_object *o = json_tokener_parse(r->list[i]->body), *batch = member(o, "batch");
        CHECK(batch != NULL);
        for (size_t k = 0; batch && k < json_object_array_length(batch); k++)
            json_object_array_add(all, json_object_get(json_object_array_get_idx(batch, k)));
        json_object_put(o);
    }
    pthread_mutex_unlock(&r->lock);
    return all;
}

TEST(batches_as_posthog_takes_them)
{
    receiver r;
    char host[80], value[100];
    rg_analytics_totals totals;

    CHECK(receiver_start(&r, 0, take, NULL));
    snprintf(host, sizeof host, "http://127.0.0.1:%d/", r.port);
    rg_analytics *a = rg_analytics_start(&(rg_analytics_options){ .host = host, .key = "phc_\"key", .flush_seconds = 0.2 });
    CHECK(a != NULL);
    rg_analytics_send(NULL, "nothing", json_object_new_object());      /* off */
    for (int i = 0; i < 250; i++) {
        struct json_object *p = json_object_new_object();
        json_object_object_add(p, "i", json_object_new_int(i));
        rg_analytics_send(a, "modal_test", p);
    }
    CHECK(receiver_wait(&r, 3, 30) >= 3);
    struct json_object *first = json_tokener_parse(r.list[0]->body), *e, *all;
    CHECK_STR(r.list[0]->method, "POST");
    CHECK_STR(r.list[0]->path, "/batch/");
    CHECK_STR(received_header(r.list[0], "Content-Type", value, sizeof value), "application/json");
    CHECK_STR(json_object_get_string(member(first, "api_key")), "phc_\"key");
    CHECK(json_object_array_length(member(first, "batch")) <= 100);
    rg_analytics_stop(a);
    all = events_of(&r);
    CHECK_INT(json_object_array_length(all), 250);
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        e = json_object_array_get_idx(all, i);
        CHECK_INT(json_object_get_int(member(member(e, "properties"), "i")), i);           /* in order */
    }
    e = json_object_array_get_idx(all, 0);
    CHECK_STR(json_object_get_string(member(e, "event")), "modal_test");
    CHECK_INT(json_object_get_string_len(member(e, "uuid")), 36);
    CHECK_INT(json_object_get_string_len(member(e, "timestamp")), 24);
    CHECK(!strncmp(json_object_get_string(member(member(e, "properties"), "distinct_id")), "rylagraph-", 10));
    json_object_put(all);
    json_object_put(first);
    receiver_stop(&r);

    /* a host that fails is tried again, with the same batch */
    CHECK(receiver_start(&r, 0, refuse_once, NULL));
    snprintf(host, sizeof host, "http://127.0.0.1:%d", r.port);
    a = rg_analytics_start(&(rg_analytics_options){ .host = host, .key = "k", .flush_seconds = 0.05 });
    rg_analytics_send(a, "modal_test", NULL);
    CHECK_INT(receiver_wait(&r, 2, 30), 2);
    for (int i = 0; i < 2000 && (rg_analytics_count(a, &totals), totals.n_sent == 0); i++)
        usleep(5000);
    CHECK_INT(totals.n_sent, 1);
    CHECK_INT(totals.n_dropped, 0);
    CHECK_STR(r.list[1]->body, r.list[0]->body);
    rg_analytics_stop(a);
    receiver_stop(&r);
}

TEST(a_host_that_hangs_holds_nobody_up)
{
    receiver r;
    char host[80];
    rg_analytics_totals totals;

    CHECK(receiver_start(&r, 0, hang, NULL));
    snprintf(host, sizeof host, "http://127.0.0.1:%d", r.port);
    rg_analytics *a = rg_analytics_start(&(rg_analytics_options){ .host = host, .key = "k", .flush_seconds = 0.01 });
    double begun = receiver_now();
    for (int i = 0; i < 3000; i++)
        rg_analytics_send(a, "modal_test", NULL);
    CHECK(receiver_now() - begun < 5);
    rg_analytics_count(a, &totals);
    CHECK(totals.n_dropped >= 3000 - 1000 - 100);
    CHECK(totals.n_dropped <= 2000);
    begun = receiver_now();
    rg_analytics_stop(a);
    CHECK(receiver_now() - begun < 12);                     /* three seconds, and what a busy machine adds */
    receiver_stop(&r);
}

/* ---- the events of a server -------------------------------------------------------------------------------------------------- */

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (f) {
        fputs(text, f);
        fclose(f);
    }
}

#define IMAGE_GRAPH "{\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 8, \"height\": 8, \"batch_size\": 1, \"color\": 1}}, " \
                    "\"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"x\"}}, " \
                    "\"3\": {\"class_type\": \"PrimitiveFloat\", \"inputs\": {\"value\": 0}}, \"4\": {\"class_type\": \"PrimitiveFloat\", " \
                    "\"inputs\": {\"value\": 0}}, \"5\": {\"class_type\": \"PrimitiveString\", \"inputs\": {\"value\": \"\"}}, " \
                    "\"6\": {\"class_type\": \"PrimitiveInt\", \"inputs\": {\"value\": 0}}}"
/* nodes 3 to 6 take what the picture has no use for */
#define PARAMETERS  "{\"name\": \"prompt\", \"type\": \"string\", \"required\": true, \"targets\": [\"2.filename_prefix\"]}, " \
                    "{\"name\": \"width\", \"type\": \"int\", \"default\": 16, \"targets\": [\"1.width\"]}, " \
                    "{\"name\": \"height\", \"type\": \"int\", \"default\": 8, \"targets\": [\"1.height\"]}, " \
                    "{\"name\": \"steps\", \"type\": \"int\", \"default\": 20, \"targets\": [\"6.value\"]}, " \
                    "{\"name\": \"cfg\", \"type\": \"float\", \"default\": 1.5, \"targets\": [\"3.value\"]}, " \
                    "{\"name\": \"seed\", \"type\": \"int\", \"default\": 42, \"min\": 0, \"max\": 1000, \"targets\": [\"1.color\"]}"

/* The event of this name, the n-th of them; NULL when there is none. */
static struct json_object *event_named(struct json_object *all, const char *name, int n)
{
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *e = json_object_array_get_idx(all, i);
        if (!strcmp(json_object_get_string(member(e, "event")), name) && n-- == 0)
            return member(e, "properties");
    }
    test_fail(__FILE__, __LINE__, "no event %s", name);
    return NULL;
}

static const char *property(struct json_object *properties, const char *key)
{
    struct json_object *v = member(properties, key);

    return v ? json_object_get_string(v) : "(none)";
}

TEST(events_of_a_server)
{
    test_server s = { .dir = "/tmp/rylagraph-test-XXXXXX" };
    receiver r;
    char host[80], key[100], flows[100], path[200], command[300];
    const char *more[] = { "--analytics-host", host, "--analytics-key-file", key, "--workflows", flows, NULL };

    CHECK(mkdtemp(s.dir) != NULL);
    CHECK(receiver_start(&r, 0, take, NULL));
    snprintf(host, sizeof host, "http://127.0.0.1:%d", r.port);
    snprintf(key, sizeof key, "%s/key", s.dir);
    snprintf(flows, sizeof flows, "%s/flows", s.dir);
    snprintf(command, sizeof command, "mkdir -p %s/flows %s/models/vae %s/models/loras %s/input", s.dir, s.dir, s.dir, s.dir);
    CHECK_INT(system(command), 0);
    write_file(s.dir, "key", "phc_test\n");
    write_file(s.dir, "models/vae/broken.safetensors", "no such thing");
    write_file(s.dir, "input/broken.png", "no such thing");
    write_file(flows, "flux-dev.json", "{\"name\": \"flux-dev\", \"graph\": " IMAGE_GRAPH ", \"parameters\": [" PARAMETERS "]}");
    write_file(flows, "flux-lora.json", "{\"name\": \"flux-lora\", \"graph\": " IMAGE_GRAPH ", \"parameters\": [" PARAMETERS ", {\"name\": \"lora_id\", "
               "\"type\": \"string\", \"default\": \"\", \"targets\": [\"5.value\"]}, {\"name\": \"lora_strength\", \"type\": \"float\", \"default\": 1.0, "
               "\"targets\": [\"4.value\"]}]}");
    struct json_object *demo = json_object_from_file("workflows/demo.json");
    if (demo) {                         /* the demo with little time */
        json_object_object_add(demo, "name", json_object_new_string("hasty"));
        json_object_object_add(demo, "timeout", json_object_new_double(0.01));
        write_file(flows, "hasty.json", json_object_to_json_string(demo));
        json_object_put(demo);
    }
    if (!server_start(&s, 0, more)) {
        receiver_stop(&r);
        server_remove(&s);
        SKIP("no program to run");
    }
    answer a = post(s.port, "/flux-dev", "{\"prompt\": \"tr\\u00e8s secret\", \"width\": 24, \"seed\": 3}");
    CHECK_INT(a.status, 200);
    answer_free(&a);
    a = post(s.port, "/flux-lora", "{\"prompt\": \"secret\", \"lora_id\": \"character-7\"}");
    CHECK_INT(a.status, 200);
    answer_free(&a);
    a = post(s.port, "/hasty", "{\"prompt\": \"secret\", \"steps\": 50}");
    CHECK_INT(a.status, 504);
    answer_free(&a);
    a = post(s.port, "/flux-dev", "{}");                    /* refused: no work, no event */
    CHECK_INT(a.status, 400);
    answer_free(&a);
    a = post(s.port, "/workflow", "{\"workflow\": " IMAGE_GRAPH "}");
    CHECK_INT(a.status, 200);
    answer_free(&a);
    a = post(s.port, "/workflow", "{\"workflow\": {\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"broken.png\"}}, "
             "\"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"x\"}}}}");
    CHECK_INT(a.status, 500);
    answer_free(&a);
    a = post(s.port, "/workflow", "{\"workflow\": {\"1\": {\"class_type\": \"VAELoader\", \"inputs\": {\"vae_name\": \"broken.safetensors\"}}, "
             "\"3\": {\"class_type\": \"EmptyLatentImage\", \"inputs\": {\"width\": 64, \"height\": 64, \"batch_size\": 1}}, "
             "\"4\": {\"class_type\": \"VAEDecode\", \"inputs\": {\"vae\": [\"1\", 0], \"samples\": [\"3\", 0]}}, "
             "\"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"4\", 0], \"filename_prefix\": \"x\"}}}}");
    CHECK_INT(a.status, 500);
    answer_free(&a);
    server_stop(&s, SIGTERM);           /* sends what has gathered: an event may wait ten seconds otherwise */

    struct json_object *all = events_of(&r), *e;
    CHECK(!strstr(json_object_to_json_string(all), "secret"));
    e = event_named(all, "modal_app_deployed", 0);
    CHECK_STR(property(e, "app_name"), "rylagraph");
    CHECK(strstr(property(e, "models_installed"), "broken.safetensors"));
    CHECK_INT(strlen(property(e, "deployment_time")), 24);
    e = event_named(all, "modal_flux_dev_generation_requested", 0);
    CHECK_STR(property(e, "workflow_type"), "flux_dev");
    CHECK_STR(property(e, "prompt_length"), "11");          /* characters */
    CHECK_STR(property(e, "width"), "24");
    CHECK_STR(property(e, "height"), "8");
    CHECK_STR(property(e, "steps"), "20");
    CHECK_STR(property(e, "cfg"), "1.5");
    CHECK_STR(property(e, "has_seed"), "true");
    e = event_named(all, "modal_flux_dev_generation_completed", 0);
    CHECK_STR(property(e, "workflow_type"), "flux_dev");
    CHECK_STR(property(e, "success"), "true");
    CHECK(json_object_is_type(member(e, "generation_time_ms"), json_type_int));
    e = event_named(all, "modal_lora_generation_requested", 0);
    CHECK_STR(property(e, "workflow_type"), "flux_lora");
    CHECK_STR(property(e, "has_seed"), "false");
    e = event_named(all, "modal_lora_generation_completed", 0);
    CHECK_STR(property(e, "lora_id"), "character-7");
    CHECK_STR(property(e, "lora_strength"), "1.0");
    CHECK_STR(property(e, "success"), "true");
    e = event_named(all, "modal_hasty_generation_failed", 0);
    CHECK_STR(property(e, "error_type"), "timeout");
    CHECK(*property(e, "error_message"));
    event_named(all, "modal_workflow_executed", 2);
    event_named(all, "modal_workflow_completed", 0);
    CHECK_STR(property(event_named(all, "modal_workflow_failed", 0), "error_type"), "workflow_error");
    CHECK_STR(property(event_named(all, "modal_workflow_failed", 1), "error_type"), "model_error");
    CHECK_INT(json_object_array_length(all), 1 + 2 + 2 + 2 + 3 + 3);
    json_object_put(all);
    snprintf(path, sizeof path, "%s", s.dir);
    server_remove(&s);
    receiver_stop(&r);
}

/* A LoRA that was loaded, as the executor tells of it. */
TEST(a_lora_that_was_loaded)
{
    receiver r;
    char dir[] = "/tmp/rylagraph-test-XXXXXX", host[80], path[100], command[200];
    const char *models[] = { dir };
    rg_ctx *c = test_ctx();
    rg_prompt *p = NULL;
    struct json_object *graph = json_tokener_parse("{\"4\": {\"class_type\": \"LoraLoaderModelOnly\", \"inputs\": {\"lora_name\": \"people/anna.v2.safetensors\"}}}");

    CHECK(mkdtemp(dir) != NULL);
    snprintf(command, sizeof command, "mkdir -p %s/loras/people && head -c 1500000 /dev/zero > %s/loras/people/anna.v2.safetensors", dir, dir);
    CHECK_INT(system(command), 0);
    CHECK(receiver_start(&r, 0, take, NULL));
    snprintf(host, sizeof host, "http://127.0.0.1:%d", r.port);
    snprintf(path, sizeof path, "%s/output", dir);
    rg_service s = { .options = { .env = rg_env_new(models, 1, dir, path) },
                     .analytics = rg_analytics_start(&(rg_analytics_options){ .host = host, .key = "k", .flush_seconds = 0.05 }) };
    CHECK_INT(rg_prompt_from_json(c, graph, &p), 0);
    const rg_job job = { .id = "x", .request = "{}" };
    const rg_event executed = { .kind = RG_EVENT_EXECUTED, .node_id = "4", .class_type = "LoraLoaderModelOnly", .seconds = 0.2504 },
                   cached = { .kind = RG_EVENT_EXECUTED, .node_id = "4", .class_type = "LoraLoaderModelOnly", .is_cached = true };
    analytics_on_job(&s, &(rg_job_event){ .kind = RG_JOB_EVENT_RUN, .job = &job, .prompt = p, .e = &cached });
    analytics_on_job(&s, &(rg_job_event){ .kind = RG_JOB_EVENT_RUN, .job = &job, .prompt = p, .e = &executed });
    rg_analytics_stop(s.analytics);
    struct json_object *all = events_of(&r), *e = event_named(all, "modal_lora_loaded", 0);
    CHECK_INT(json_object_array_length(all), 1);
    CHECK_STR(property(e, "lora_id"), "anna.v2");
    CHECK_STR(property(e, "lora_size_mb"), "1.5");
    CHECK_STR(property(e, "load_time_ms"), "250");
    json_object_put(all);
    rg_prompt_free(p);
    json_object_put(graph);
    rg_env_free(s.options.env);
    rg_ctx_free(c);
    receiver_stop(&r);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    CHECK_INT(system(command), 0);
}
