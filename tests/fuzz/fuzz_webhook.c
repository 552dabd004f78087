/*
 * What outsiders say about webhooks: the `webhook` of a request as JSON, URLs (each is looked at, taken apart and shown), secrets; and an
 * operator's price file. What is accepted must be storable, and a secret that is accepted must sign.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/ctx.h"
#include "engine/net/http_client.h"
#include "graph/json_text.h"
#include "server/cost.h"
#include "server/webhook.h"

static void check_url(const char *url)
{
    char host[40], shown[60];

    rg_http_url_host(url, host, sizeof host);
    rg_http_url_shown(url, shown, sizeof shown);
    if (!rg_http_url_problem(url) && (!*host || strchr(shown, '?') || strchr(shown, '#') || strchr(host, '@') || strchr(host, '/')))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct json_object *v = NULL;
    const char *field = NULL;
    char error[300], text[300], mac[64], *webhook = NULL, *copy = rg_strndup((const char *)bytes, n);
    unsigned events = 0;

    if (!copy)
        return 0;
    check_url(copy);
    if (!rg_webhook_secret_problem(copy) && (!rg_webhook_sign(copy, "msg_1", 1, "{}", mac) || strlen(mac) != 47))
        abort();
    rg_price_read((const char *)bytes, n, "L40S", error, sizeof error);
    if (rg_json_read((const char *)bytes, n, 64, &v, error, sizeof error) == 0) {
        for (int allows_private = 0; allows_private < 2; allows_private++) {
            if (rg_webhook_read(v, allows_private, &webhook, &events, &field, text, sizeof text) == 0) {
                struct json_object *again = json_tokener_parse(webhook);
                if (!again || !events || events >= 1u << 5)
                    abort();
                json_object_put(again);
                rg_free(webhook);
                webhook = NULL;
            } else if (!field) {
                abort();                /* no memory: not here */
            }
        }
        json_object_put(v);
    }
    rg_free(copy);
    return 0;
}
