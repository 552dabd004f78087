/* Prices and /metrics: the table and a file of one's own, the text format, and what a job leaves in it. */
#include "server/cost.h"
#include "tests/server/client.h"

static double price(const char *json, const char *key, char *error)
{
    return rg_price_read(json, strlen(json), key, error, 300);
}

TEST(prices_from_a_file)
{
    static const char devices[] = "{\"devices\": {\"L40S\": 0.0006, \"RTX 4090\": 0.0002, \"default\": 0.0001}}";
    char error[300] = "";

    CHECK(price("{}", "L40S", error) == 0.000542);
    CHECK(price("{}", NULL, error) == 0.000542);
    CHECK(price(devices, "L40S", error) == 0.0006);
    CHECK(price(devices, "RTX 4090", error) == 0.0002);
    CHECK(price(devices, "T4", error) == 0.000164);         /* the table's: it is in neither the file nor "default"'s business */
    CHECK(price(devices, "CPU", error) == 0.0001);
    /* the formula of the table's page: 30 s on an L40S with 4 cores and 16 GiB */
    CHECK(fabs(30 * price("{\"cores\": 4, \"gib\": 16}", "L40S", error) - (30 * 0.000542 + 30 * 4 * 0.0000131 + 30 * 16 * 0.00000222)) < 1e-12);
    CHECK(fabs(price("{\"cores\": 2, \"core\": 0.5, \"gib\": 3, \"memory\": 0.25, \"devices\": {\"T4\": 0}}", "T4", error) - 1.75) < 1e-12);
    CHECK(price("{\"device\": {}}", "T4", error) < 0 && strstr(error, "device"));
    CHECK(price("{\"devices\": {\"T4\": \"free\"}}", "T4", error) < 0 && strstr(error, "T4"));
    CHECK(price("{\"devices\": [1]}", "T4", error) < 0);
    CHECK(price("{\"cores\": -1}", "T4", error) < 0 && strstr(error, "cores"));
    CHECK(price("[]", "T4", error) < 0);
    CHECK(price("{\"cores\": 1", "T4", error) < 0 && strstr(error, "line 1"));
}

/* The value of a line of /metrics, by all that stands before it; NAN when there is none. */
static double value_of(const char *text, const char *name)
{
    const size_t n = strlen(name);

    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (!strncmp(line, name, n) && line[n] == ' ')
            return strtod(line + n + 1, NULL);
    }
    return NAN;
}

/* Every line is a comment or a number with a name whose type was given before, as Prometheus' text format wants. */
static void check_format(const char *text)
{
    char type[200] = "";

    for (const char *line = text, *end; *line; line = end + 1) {
        if (!(end = strchr(line, '\n'))) {
            test_fail(__FILE__, __LINE__, "the last line has no end: %s", line);
            return;
        }
        if (!strncmp(line, "# TYPE ", 7)) {
            snprintf(type, sizeof type, "%.*s", (int)strcspn(line + 7, " "), line + 7);
        } else if (strncmp(line, "# HELP ", 7)) {
            const char *at = line + strcspn(line, "{ ");
            char *rest;
            if (strncmp(line, type, strlen(type)) || !*type)
                test_fail(__FILE__, __LINE__, "no type before %.60s", line);
            if (*at == '{') {
                for (at++; *at != '}' && at < end; at += *at == ',') {
                    at += strspn(at, "abcdefghijklmnopqrstuvwxyz_");
                    CHECK(*at == '=' && at[1] == '"');
                    for (at += 2; *at != '"' && at < end; at++)
                        at += *at == '\\';
                    at++;
                }
                at++;
            }
            strtod(at, &rest);
            if (*at != ' ' || rest != end || rest == at + 1)
                test_fail(__FILE__, __LINE__, "malformed: %.100s", line);
        }
    }
}

TEST(what_a_job_leaves)
{
    test_server s = { .dir = "/tmp/rylagraph-test-XXXXXX" };
    char prices[100];
    const char *more[] = { "--price-file", prices, "--gpu-type", "RTX \"4090\"", NULL };

    CHECK(mkdtemp(s.dir) != NULL);
    snprintf(prices, sizeof prices, "%s/prices.json", s.dir);
    FILE *f = fopen(prices, "w");
    fputs("{\"devices\": {\"RTX \\\"4090\\\"\": 2}, \"cores\": 1, \"core\": 1}", f);
    fclose(f);
    if (!server_start(&s, 0, more)) {
        server_remove(&s);
        SKIP("no program to run");
    }
    answer a = get(s.port, "/metrics");
    CHECK_INT(a.status, 200);
    check_format(a.body);
    CHECK(value_of(a.body, "rylagraph_cold_jobs_total") == 0);
    CHECK(value_of(a.body, "rylagraph_first_job_seconds") == 0);
    CHECK(value_of(a.body, "rylagraph_start_seconds") >= 0 && value_of(a.body, "rylagraph_start_seconds") < 60);
    CHECK(value_of(a.body, "rylagraph_price_usd_per_second{gpu=\"RTX \\\"4090\\\"\"}") == 3);
    answer_free(&a);

    double cost = 0;
    for (int i = 0; i < 2; i++) {       /* the second finds the model in the cache */
        a = post(s.port, "/demo", i ? "{\"prompt\": \"a house\", \"steps\": 2, \"seed\": 2}" : "{\"prompt\": \"a house\", \"steps\": 2, \"seed\": 1}");
        CHECK_INT(a.status, 200);
        const char *at = strcasestr(a.head, "X-Cost-USD: "), *seconds = strcasestr(a.head, "X-Execution-Time-Sec: ");
        CHECK(at && seconds && fabs(strtod(at + 12, NULL) - 3 * strtod(seconds + 22, NULL)) < 0.002);  /* the header has milliseconds */
        cost += at ? strtod(at + 12, NULL) : 0;
        answer_free(&a);
    }
    a = post(s.port, "/workflow", "{\"workflow\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 8, \"height\": 8, \"batch_size\": 1, "
             "\"color\": 1}}, \"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"x\"}}}}");
    CHECK_INT(a.status, 200);
    cost += strtod(strcasestr(a.head, "X-Cost-USD: ") + 12, NULL);
    answer_free(&a);

    a = get(s.port, "/metrics");
    check_format(a.body);
    CHECK(value_of(a.body, "rylagraph_endpoint_jobs_total{endpoint=\"demo\",state=\"done\"}") == 2);
    CHECK(value_of(a.body, "rylagraph_endpoint_jobs_total{endpoint=\"workflow\",state=\"done\"}") == 1);
    CHECK(value_of(a.body, "rylagraph_job_seconds_bucket{endpoint=\"demo\",le=\"+Inf\"}") == 2);
    CHECK(value_of(a.body, "rylagraph_job_seconds_count{endpoint=\"demo\"}") == 2);
    CHECK(value_of(a.body, "rylagraph_job_seconds_sum{endpoint=\"demo\"}") > 0);
    CHECK(value_of(a.body, "rylagraph_queue_wait_seconds_count") == 3);
    CHECK(value_of(a.body, "rylagraph_cold_jobs_total") == 1);
    CHECK(value_of(a.body, "rylagraph_cold_load_last_seconds") > 0);
    CHECK(value_of(a.body, "rylagraph_first_job_seconds") > 0);
    CHECK(value_of(a.body, "rylagraph_node_runs_total{class=\"KSampler\"}") == 2);
    CHECK(value_of(a.body, "rylagraph_node_seconds_total{class=\"KSampler\"}") > 0);
    CHECK(value_of(a.body, "rylagraph_nodes_total{cached=\"false\"}") == 15);
    CHECK(value_of(a.body, "rylagraph_nodes_total{cached=\"true\"}") == 7);       /* all but KSampler, VAEDecode, SaveImage */
    CHECK(strstr(a.body, "rylagraph_model_jobs_total{model=\"flux-demo.safetensors\",state=\"done\"} 2\n") != NULL);
    CHECK(strstr(a.body, "rylagraph_model_seconds_total{model=\"flux-demo.safetensors\",part=\"compute\"} ") != NULL);
    CHECK(value_of(a.body, "rylagraph_resident_bytes") > 1e6);
    CHECK(value_of(a.body, "rylagraph_available_bytes") > 1e6);
    CHECK(fabs(value_of(a.body, "rylagraph_cost_usd_total{gpu=\"RTX \\\"4090\\\"\"}") - cost) < 1e-5);
    CHECK(fabs(value_of(a.body, "rylagraph_cost_usd_total{gpu=\"RTX \\\"4090\\\"\"}") -
               3 * (value_of(a.body, "rylagraph_seconds_total{part=\"load\"}") + value_of(a.body, "rylagraph_seconds_total{part=\"compute\"}"))) < 1e-5);
    answer_free(&a);
    server_stop(&s, SIGTERM);
    server_remove(&s);
}
