/*
 * What execution means, with the nodes of the testing pack: lazy inputs, blockers, lists, expansion, loops, cycles, async nodes,
 * cache modes, fingerprints, progress. What is expected is what ComfyUI does (its tests/execution, and measurements of it).
 */
#include "graph/execute.h"
#include "tests/graph/graph_test.h"
#include "tests/plugins/testing_pack.c"

/* ---- a run, and what was heard of it ------------------------------------------------------------------------------------ */

/* SeePixel shows the mean of a picture; output node without files. */
struct see_args { const rg_tensor *image; };
static const rg_input inputs_see[] = { LINK_ROW("image", see_args, image, RG_IMAGE), RG_END };

static int execute_see(rg_exec *x, const void *in, rg_value *out)
{
    const rg_tensor *t = ((const struct see_args *)in)->image;
    char text[64];
    double sum = 0;

    for (int64_t i = 0; i < rg_numel(t); i++)
        sum += rg_get(t, i);
    snprintf(text, sizeof(text), "%.4f", sum / (double)rg_numel(t));
    return rg_exec_ui_text(x, "text", text);
}
PACK_NODE(see, "SeePixel", OUT({ NULL, NULL }), .args_size = sizeof(struct see_args), .is_output = true);

/* SeeInt shows a whole number. */
static const rg_input inputs_see_int[] = { INT_ROW("value", int_args, value, 0, -1000, 1000), RG_END };
static int execute_see_int(rg_exec *x, const void *in, rg_value *out)
{
    char text[32];

    snprintf(text, sizeof(text), "%lld", (long long)((const struct int_args *)in)->value);
    return rg_exec_ui_text(x, "text", text);
}
PACK_NODE(see_int, "SeeInt", OUT({ NULL, NULL }), .args_size = sizeof(struct int_args), .is_output = true);

typedef struct heard {
    rg_text ran;                        /* " 1 2 2.0.0.1": nodes that were executing */
    rg_text shown;                      /* " 9=0.5,0.25" */
    rg_text cached, blocked;
    char error[300], error_node[64], error_type[64];
    bool is_interrupted, has_succeeded;
    int n_states, n_unfinished;         /* progress_state events; nodes that the last one has as running */
    char display[64];                   /* of the last inner node that ran */
} heard;

static void hear(void *user, const rg_event *e)
{
    heard *h = user;

    switch (e->kind) {
    case RG_EVENT_CACHED:
        for (int i = 0; i < e->n_ids; i++)
            rg_text_format(&h->cached, " %s", e->ids[i]);
        break;
    case RG_EVENT_EXECUTING:
        rg_text_format(&h->ran, " %s", e->node_id);
        if (strchr(e->node_id, '.'))
            snprintf(h->display, sizeof(h->display), "%s", e->display_id);
        break;
    case RG_EVENT_EXECUTED:
        if (e->ui) {
            struct json_object *list = json_object_object_get(e->ui, "text");

            rg_text_format(&h->shown, " %s=", e->node_id);
            for (size_t i = 0; i < json_object_array_length(list); i++)
                rg_text_format(&h->shown, "%s%s", i ? "," : "", json_object_get_string(json_object_array_get_idx(list, i)));
        }
        break;
    case RG_EVENT_BLOCKED:
        rg_text_format(&h->blocked, " %s: %s", e->node_id, e->message);
        break;
    case RG_EVENT_PROGRESS_STATE:
        h->n_states++;
        h->n_unfinished = 0;
        for (int i = 0; i < e->n_progress; i++)
            h->n_unfinished += !e->progress[i].is_finished;
        break;
    case RG_EVENT_ERROR:
        snprintf(h->error, sizeof(h->error), "%s", e->message);
        snprintf(h->error_node, sizeof(h->error_node), "%s", e->node_id ? e->node_id : "");
        snprintf(h->error_type, sizeof(h->error_type), "%s", e->exception_type);
        break;
    case RG_EVENT_INTERRUPTED:
        h->is_interrupted = true;
        break;
    case RG_EVENT_SUCCESS:
        h->has_succeeded = true;
        break;
    default:
        break;
    }
}

static void forget(heard *h)
{
    rg_text_release(&h->ran);
    rg_text_release(&h->shown);
    rg_text_release(&h->cached);
    rg_text_release(&h->blocked);
    *h = (heard){ 0 };
}

static const char *text_of(const rg_text *t)
{
    return t->data ? t->data : "";
}

typedef struct bench {
    rg_ctx *c;
    rg_env *env;
    rg_cache *cache;
    heard h;
    struct json_object *answer;
} bench;

static bench open_bench(rg_cache *cache)
{
    bench b = { .c = test_ctx(), .env = rg_env_new(NULL, 0, "/nowhere/input", "/nowhere/output"), .cache = cache };
    int n;
    const rg_node *const *nodes = rg_node_pack(RG_NODE_ABI, &n);

    for (int i = 0; i < n; i++)
        rg_node_register(nodes[i]);     /* by the second test they are there: then this changes nothing */
    rg_node_register(&node_see);
    rg_node_register(&node_see_int);
    return b;
}

static void close_bench(bench *b)
{
    forget(&b->h);
    rg_cache_free(b->cache);
    rg_env_free(b->env);
    rg_ctx_free(b->c);
}

/* Text with ' for ". -100: not valid. */
static int run(bench *b, const char *text)
{
    char *json = strdup(text);
    struct json_object *answer = NULL;
    rg_prompt *p = NULL;
    int ret;

    for (char *s = json; *s; s++)
        if (*s == '\'')
            *s = '"';
    forget(&b->h);
    ret = rg_prompt_parse(b->c, json, strlen(json), &p);
    if (ret && ret != RG_ERR_NOMEM)
        test_fail(__FILE__, __LINE__, "%s", b->c->message);
    if (!ret && rg_prompt_validate(b->env, p, &answer) < 0)
        ret = -100;
    char *before = ret ? NULL : strdup(json_object_to_json_string(rg_prompt_json(p)));
    if (!ret)
        ret = rg_execute(&(rg_run){ .ctx = b->c, .env = b->env, .cache = b->cache, .listener = hear, .listener_user = &b->h }, p);
    if (before)                         /* what a run adds to the graph is gone with it */
        CHECK_STR(json_object_to_json_string(rg_prompt_json(p)), before);
    free(before);
    json_object_put(answer);
    rg_prompt_free(p);
    free(json);
    return ret;
}

#define SMALL "'height':4,'width':4,'batch_size':1"
#define IMAGE(id, content) "'" id "':{'class_type':'StubImage','inputs':{'content':'" content "'," SMALL "}}"
#define CONSTANT(id, value) "'" id "':{'class_type':'StubConstantImage','inputs':{'value':" value "," SMALL "}}"
#define MASK(id, value) "'" id "':{'class_type':'StubMask','inputs':{'value':" value "," SMALL "}}"
#define SEE(id, from) "'" id "':{'class_type':'SeePixel','inputs':{'image':['" from "',0]}}"
#define MIX(id, a, b, m) "'" id "':{'class_type':'TestLazyMixImages','inputs':{'image1':['" a "',0],'image2':['" b "',0],'mask':['" m "',0]}}"
#define INT(id, value) "'" id "':{'class_type':'StubInt','inputs':{'value':" value "}}"

/* ---- lazy -------------------------------------------------------------------------------------------------------------------- */

TEST(lazy_inputs_run_only_when_asked_for)
{
    bench b = open_bench(NULL);

    CHECK_INT(run(&b, "{" IMAGE("1", "BLACK") "," IMAGE("2", "WHITE") "," MASK("3", "0.0") "," MIX("4", "1", "2", "3") "," SEE("5", "4") "}"), 0);
    CHECK_STR(text_of(&b.h.ran), " 3 4 1 4 5");      /* the mix says twice that it starts, as in ComfyUI */
    CHECK_STR(text_of(&b.h.shown), " 5=0.0000");
    CHECK_INT(run(&b, "{" IMAGE("1", "BLACK") "," IMAGE("2", "WHITE") "," MASK("3", "0.25") "," MIX("4", "1", "2", "3") "," SEE("5", "4") "}"), 0);
    CHECK_STR(text_of(&b.h.shown), " 5=0.2500");
    CHECK_INT(b.h.n_unfinished, 0);
    CHECK(b.h.n_states >= 10);
    close_bench(&b);
}

/* A source that ran, was let go of, and is asked for later by a lazy input's source runs again instead of being missing. */
TEST(lazy_inputs_find_what_was_let_go_of)
{
    bench b = open_bench(NULL);

    CHECK_INT(run(&b, "{" CONSTANT("1", "0.5") "," SEE("9", "1") ",'2':{'class_type':'TestOutputNodeWithSocketOutput','inputs':{'image':['1',0],'value':0.5}},"
                      MASK("3", "1.0") "," MIX("4", "1", "2", "3") "," SEE("5", "4") "}"), 0);
    CHECK(strstr(text_of(&b.h.shown), " 5=0.2500") != NULL);
    CHECK(strstr(text_of(&b.h.shown), " 9=0.5000") != NULL);
    close_bench(&b);
}

TEST(of_two_lazy_branches_one_runs)
{
    bench b = open_bench(NULL);

    CHECK(run(&b, "{" INT("1", "1") "," INT("2", "2") ",'4':{'class_type':'TestAsyncLazyCheck','inputs':{'input1':['1',0],'input2':['2',0],'condition':false}}," SEE("5", "4") "}") == 0);
    CHECK_STR(text_of(&b.h.ran), " 4 2 4 5");
    close_bench(&b);
}

/* ---- blockers and lists -------------------------------------------------------------------------------------------------------- */

TEST(a_blocked_element_disappears_from_the_output)
{
    bench b = open_bench(NULL);
    static const char text[] =
        "{" CONSTANT("1", "0.1") "," CONSTANT("2", "0.2") "," CONSTANT("3", "0.3") "," INT("4", "1") "," INT("5", "2") "," INT("6", "3") ","
        "'10':{'class_type':'TestMakeListNode','inputs':{'value1':['1',0],'value2':['2',0],'value3':['3',0]}},"
        "'11':{'class_type':'TestMakeListNode','inputs':{'value1':['4',0],'value2':['5',0],'value3':['6',0]}},"
        "'12':{'class_type':'TestIntConditions','inputs':{'a':['11',0],'b':2,'operation':'=='}},"
        "'13':{'class_type':'TestExecutionBlocker','inputs':{'input':['10',0],'block':['12',0],'verbose':true}},"
        "'14':{'class_type':'TestOutputNodeWithSocketOutput','inputs':{'image':['13',0],'value':1.0}}," SEE("15", "14") "}";

    CHECK_INT(run(&b, text), 0);
    CHECK_STR(text_of(&b.h.shown), " 15=0.1000,0.3000");
    CHECK_STR(text_of(&b.h.blocked), " 14: Execution Blocked: Blocked Execution");      /* the first consumer says so, later ones are silent */
    CHECK(b.h.has_succeeded);
    close_bench(&b);
}

TEST(a_blocked_run_succeeds_without_output)
{
    bench b = open_bench(NULL);

    CHECK_INT(run(&b, "{" IMAGE("1", "WHITE") ",'2':{'class_type':'TestExecutionBlocker','inputs':{'input':['1',0],'block':true,'verbose':false}}," SEE("3", "2") "}"), 0);
    CHECK_STR(text_of(&b.h.shown), "");
    CHECK_STR(text_of(&b.h.blocked), "");
    CHECK(b.h.has_succeeded);
    close_bench(&b);
}

TEST(links_on_undeclared_inputs_reach_those_who_take_them)
{
    bench b = open_bench(NULL);

    CHECK_INT(run(&b, "{" CONSTANT("1", "0.0") "," CONSTANT("2", "1.0") ",'3':{'class_type':'TestVariadicAverage','inputs':{'input1':['1',0],'input2':['2',0],"
                      "'input3':['1',0],'input4':['1',0],'other':5}}," SEE("4", "3") "}"), 0);
    CHECK_STR(text_of(&b.h.shown), " 4=0.2500");
    close_bench(&b);
}

TEST(pictures_are_put_into_other_batches)
{
    bench b = open_bench(NULL);
#define REBATCH(n) "{'1':{'class_type':'StubConstantImage','inputs':{'value':0.25,'height':4,'width':4,'batch_size':3}},"                       \
        "'2':{'class_type':'StubConstantImage','inputs':{'value':0.75,'height':4,'width':4,'batch_size':2}},"                                   \
        "'3':{'class_type':'TestMakeListNode','inputs':{'value1':['1',0],'value2':['2',0]}},"                                                   \
        "'4':{'class_type':'RebatchImages','inputs':{'images':['3',0],'batch_size':" n "}}," SEE("5", "4") "}"

    CHECK_INT(run(&b, REBATCH("2")), 0);
    CHECK_STR(text_of(&b.h.shown), " 5=0.2500,0.5000,0.7500");
    CHECK_INT(run(&b, REBATCH("4")), 0);
    CHECK_STR(text_of(&b.h.shown), " 5=0.3750,0.7500");
    CHECK_INT(run(&b, REBATCH("1")), 0);
    CHECK_STR(text_of(&b.h.shown), " 5=0.2500,0.2500,0.2500,0.7500,0.7500");
    close_bench(&b);
}

/* ---- expansion ------------------------------------------------------------------------------------------------------------------- */

TEST(some_calls_expand_and_others_do_not)
{
    bench b = open_bench(rg_cache_new());
    static const char text[] =
        "{'1':{'class_type':'StubFloat','inputs':{'value':0.1}},'2':{'class_type':'StubFloat','inputs':{'value':0.2}},"
        "'3':{'class_type':'StubFloat','inputs':{'value':0.3}},"
        "'4':{'class_type':'TestMakeListNode','inputs':{'value1':['1',0],'value2':['2',0],'value3':['3',0]}},"
        "'5':{'class_type':'TestMixedExpansionReturns','inputs':{'input1':['4',0]}}," SEE("6", "5") "}";

    CHECK_INT(run(&b, text), 0);
    CHECK_STR(text_of(&b.h.shown), " 6=0.1000,0.2000,0.3000");
    CHECK(strstr(text_of(&b.h.ran), " 5.2.0.4") != NULL);
    CHECK_STR(b.h.display, "5");
    CHECK_INT(run(&b, text), 0);        /* the parent's result is kept like any other */
    CHECK_STR(text_of(&b.h.ran), "");
    CHECK_STR(text_of(&b.h.cached), " 1 2 3 4 5 6");
    close_bench(&b);
}

#define FOR_LOOP(n, extra)                                                                                                       \
    "{" CONSTANT("1", "1.0") "," CONSTANT("2", "0.0") ","                                                                        \
    "'10':{'class_type':'TestForLoopOpen','inputs':{'remaining':" n ",'initial_value1':['1',0]}},"                              \
    "'11':{'class_type':'TestVariadicAverage','inputs':{'input1':['10',2],'input2':['2',0]}},"                                  \
    "'12':{'class_type':'TestCustomIsChanged','inputs':{'image':['11',0],'should_change':" extra "}},"                          \
    "'13':{'class_type':'TestForLoopClose','inputs':{'flow_control':['10',0],'initial_value1':['12',0]}}," SEE("14", "13") "}"

TEST(loops_are_expansions_of_expansions)
{
    static const char *const wanted[] = { " 14=0.5000", " 14=0.2500", " 14=0.1250", " 14=0.0625" };
    static const char *const graphs[] = { FOR_LOOP("1", "false"), FOR_LOOP("2", "false"), FOR_LOOP("3", "false"), FOR_LOOP("4", "false") };

    for (int mode = 0; mode < 3; mode++) {
        bench b = open_bench(mode == 0 ? NULL : mode == 1 ? rg_cache_new() : rg_cache_new_lru(100));

        for (int i = 0; i < 4; i++) {
            CHECK_INT(run(&b, graphs[i]), 0);
            if (b.h.error[0])
                test_fail(__FILE__, __LINE__, "mode %d, %d times: %s", mode, i + 1, b.h.error);
            CHECK_STR(text_of(&b.h.shown), wanted[i]);
        }
        CHECK_INT(run(&b, FOR_LOOP("4", "true")), 0);
        CHECK_INT(run(&b, FOR_LOOP("4", "true")), 0);   /* never the same: runs again */
        CHECK(strstr(text_of(&b.h.ran), " 12") != NULL);
        CHECK_STR(text_of(&b.h.shown), wanted[3]);
        close_bench(&b);
    }
}

TEST(a_circle_made_by_expansion_is_blamed_on_who_made_it)
{
    bench b = open_bench(NULL);

    CHECK(run(&b, "{" IMAGE("1", "BLACK") "," IMAGE("2", "WHITE") ",'3':{'class_type':'TestDynamicDependencyCycle','inputs':{'input1':['1',0],'input2':['2',0]}},"
                  SEE("4", "3") "}") < 0);
    CHECK_STR(b.h.error, "Dependency cycle detected");
    CHECK_STR(b.h.error_type, "graph.DependencyCycleError");
    CHECK_STR(b.h.error_node, "3");
    CHECK_INT(run(&b, "{" IMAGE("1", "WHITE") "," SEE("4", "1") "}"), 0);      /* and nothing of it is left */
    close_bench(&b);
}

/* An endless loop is stopped by an interrupt; what goes wrong inside is told of the submitted node. */
TEST(errors_inside_an_expansion_name_the_submitted_node)
{
    bench b = open_bench(NULL);

    CHECK(run(&b, "{'1':{'class_type':'StubConstantImage','inputs':{'value':0.5,'height':4,'width':4,'batch_size':1}},"
                  "'2':{'class_type':'StubConstantImage','inputs':{'value':0.5,'height':8,'width':8,'batch_size':1}},"
                  "'3':{'class_type':'TestParallelSleep','inputs':{'image1':['1',0],'image2':['2',0],'image3':['1',0],'sleep1':0.0,'sleep2':0.0,'sleep3':0.0}}}") < 0);
    CHECK_STR(b.h.error_node, "3");
    CHECK_STR(b.h.error_type, "RuntimeError");
    CHECK(strstr(b.h.error, "input2") != NULL);
    close_bench(&b);
}

/* ---- async ---------------------------------------------------------------------------------------------------------------------- */

#define SLEEP(id, from, seconds) "'" id "':{'class_type':'TestSleep','inputs':{'value':['" from "',0],'seconds':" seconds "}}"

TEST(async_nodes_overlap)
{
    bench b = open_bench(NULL);
    double started = seconds_now();

    CHECK_INT(run(&b, "{" CONSTANT("1", "0.5") "," SLEEP("2", "1", "0.5") "," SLEEP("3", "1", "0.5") "," SLEEP("4", "1", "0.5") "," SEE("5", "2") ","
                      SEE("6", "3") "," SEE("7", "4") "}"), 0);
    CHECK(seconds_now() - started < 1.4);      /* one after the other: 1.5 */
    CHECK(b.h.n_states > 20);
    CHECK_INT(b.h.n_unfinished, 0);

    started = seconds_now();
    CHECK_INT(run(&b, "{" CONSTANT("1", "0.0") "," CONSTANT("2", "1.0") ",'3':{'class_type':'TestDynamicAsyncGeneration','inputs':{'image1':['1',0],"
                      "'image2':['2',0],'num_async_nodes':4,'sleep_duration':0.5}}," SEE("5", "3") "}"), 0);
    CHECK(seconds_now() - started < 1.9);      /* one after the other: 2.0 */
    CHECK_STR(text_of(&b.h.shown), " 5=0.5000");
    close_bench(&b);
}

TEST(async_errors_end_the_run_and_what_still_sleeps)
{
    bench b = open_bench(rg_cache_new());
    double started = seconds_now();

    CHECK(run(&b, "{" CONSTANT("1", "0.5") "," SLEEP("2", "1", "5.0") ",'3':{'class_type':'TestAsyncError','inputs':{'value':['1',0],'error_after':0.05}},"
                  SEE("5", "2") "," SEE("6", "3") "}") < 0);
    CHECK(seconds_now() - started < 4.0);      /* another sleeps for 5 */
    CHECK_STR(b.h.error_node, "3");
    CHECK_STR(b.h.error, "Intentional async execution error for testing");
    CHECK(run(&b, "{" CONSTANT("1", "0.5") "," SLEEP("2", "1", "5.0") ",'3':{'class_type':'TestSyncError','inputs':{'value':['1',0]}}," SEE("5", "2") ","
                  SEE("6", "3") "}") < 0);
    CHECK_STR(b.h.error_node, "3");
    CHECK_INT(run(&b, "{" CONSTANT("1", "0.5") "," SLEEP("2", "1", "0.01") "," SEE("5", "2") "}"), 0);
    close_bench(&b);
}

static void *cancel_soon(void *flag)
{
    nanosleep(&(struct timespec){ .tv_nsec = 100 * 1000 * 1000 }, NULL);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

TEST(interrupts_reach_async_nodes)
{
    bench b = open_bench(NULL);
    atomic_bool cancel = false;
    const double started = seconds_now();
    pthread_t thread;

    b.c->cancel = &cancel;
    pthread_create(&thread, NULL, cancel_soon, &cancel);
    CHECK_INT(run(&b, "{" CONSTANT("1", "0.5") "," SLEEP("2", "1", "5.0") "," SEE("5", "2") "}"), RG_ERR_CANCELLED);
    pthread_join(thread, NULL);
    CHECK(b.h.is_interrupted);
    CHECK(seconds_now() - started < 4.0);      /* another sleeps for 5 */
    close_bench(&b);
}

/* ---- caches ---------------------------------------------------------------------------------------------------------------------- */

#define ONE(value) "{" CONSTANT("1", value) "," SEE("2", "1") "}"

TEST(classic_forgets_what_the_prompt_at_hand_cannot_use)
{
    bench b = open_bench(rg_cache_new());

    run(&b, ONE("0.1"));
    run(&b, ONE("0.2"));
    run(&b, ONE("0.1"));
    CHECK_STR(text_of(&b.h.ran), " 1 2");
    run(&b, ONE("0.1"));
    CHECK_STR(text_of(&b.h.ran), "");
    CHECK_STR(text_of(&b.h.shown), " 2=0.1000");
    close_bench(&b);
}

TEST(lru_remembers_about_as_many_as_it_is_told)
{
    bench b = open_bench(rg_cache_new_lru(4));

    run(&b, ONE("0.1"));
    run(&b, ONE("0.2"));
    run(&b, ONE("0.1"));
    CHECK_STR(text_of(&b.h.ran), "");
    run(&b, ONE("0.3"));                /* four there and all may stay, for now */
    run(&b, ONE("0.4"));                /* six: the oldest generation, 0.2's, goes */
    run(&b, ONE("0.1"));
    CHECK_STR(text_of(&b.h.ran), "");
    run(&b, ONE("0.2"));
    CHECK_STR(text_of(&b.h.ran), " 1 2");
    rg_cache_clear(b.cache);
    run(&b, ONE("0.2"));
    CHECK_STR(text_of(&b.h.ran), " 1 2");
    close_bench(&b);
}

TEST(without_a_cache_everything_runs_every_time)
{
    bench b = open_bench(NULL);

    for (int i = 0; i < 2; i++) {
        run(&b, ONE("0.1"));
        CHECK_STR(text_of(&b.h.ran), " 1 2");
    }
    close_bench(&b);
}

/* What happens inside an expansion that runs again is found again, if it is the same. */
TEST(inner_results_have_a_cache_of_their_own)
{
    bench b = open_bench(rg_cache_new());
    static const char first[] =
        "{'3':{'class_type':'StubFloat','inputs':{'value':0.3}},'5':{'class_type':'TestMixedExpansionReturns','inputs':{'input1':['3',0]}}," SEE("6", "5") "}";
    static const char second[] =
        "{'3':{'class_type':'StubFloat','inputs':{'value':0.4}},'5':{'class_type':'TestMixedExpansionReturns','inputs':{'input1':['3',0]}}," SEE("6", "5") "}";

    CHECK_INT(run(&b, first), 0);
    CHECK(strstr(text_of(&b.h.ran), " 5.0.0.1 ") != NULL);
    CHECK_INT(run(&b, second), 0);      /* expands anew into equal nodes */
    CHECK_STR(text_of(&b.h.ran), " 3 5 6");
    CHECK_STR(text_of(&b.h.shown), " 6=0.3000");
    close_bench(&b);
}

TEST(fingerprints_say_when_to_run_again)
{
    bench b = open_bench(rg_cache_new());
#define CHANGED(flag) "{'9':{'class_type':'SeePixel','inputs':{'image':['2',0]}},'2':{'class_type':'TestCustomIsChanged','inputs':{'image':['1',0],'should_change':" flag "}}," IMAGE("1", "WHITE") "}"

    CHECK_INT(run(&b, CHANGED("false")), 0);
    CHECK_INT(run(&b, CHANGED("false")), 0);
    CHECK_STR(text_of(&b.h.ran), "");
    for (int i = 0; i < 2; i++) {
        CHECK_INT(run(&b, CHANGED("true")), 0);
        CHECK_STR(text_of(&b.h.ran), " 2 9");
    }
    close_bench(&b);
}

/* ---- validators ----------------------------------------------------------------------------------------------------------------- */

#define PRODUCT(n, a, b) "{" INT("1", "1") "," IMAGE("2", "WHITE") ",'3':{'class_type':'StubFloat','inputs':{'value':0.5}}," MASK("4", "0.5") ","     \
    "'5':{'class_type':'TestCustomValidation" n "','inputs':{'input1':" a ",'input2':" b "}}," SEE("6", "5") "}"

TEST(validators_judge_values_and_types)
{
    static const struct { const char *text; int wanted; } cases[] = {
        { PRODUCT("1", "['2',0]", "5.0"), 0 }, { PRODUCT("1", "['2',0]", "5"), -100 }, { PRODUCT("1", "['2',0]", "'foo'"), -100 },
        { PRODUCT("1", "['1',0]", "['2',0]"), -100 }, { PRODUCT("1", "['4',0]", "['2',0]"), -100 },
        { PRODUCT("2", "['1',0]", "['2',0]"), -100 }, { PRODUCT("2", "['3',0]", "['2',0]"), 0 },
        { PRODUCT("3", "['1',0]", "['2',0]"), -100 }, { PRODUCT("3", "['3',0]", "['2',0]"), 0 },
        { PRODUCT("4", "['1',0]", "['3',0]"), -100 }, { PRODUCT("4", "['3',0]", "['3',0]"), 0 },
        { PRODUCT("5", "['3',0]", "5.0"), -100 + 100 }, { PRODUCT("5", "0.5", "5.0"), 0 }, { PRODUCT("5", "0.5", "7.0"), -100 },
        { "{'5':{'class_type':'TestAsyncValidation','inputs':{'value':5.0,'threshold':10.0}}," SEE("6", "5") "}", 0 },
        { "{'5':{'class_type':'TestAsyncValidation','inputs':{'value':15.0,'threshold':10.0}}," SEE("6", "5") "}", -100 },
    };
    bench b = open_bench(NULL);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (run(&b, cases[i].text) != cases[i].wanted)
            test_fail(__FILE__, __LINE__, "case %zu: %s", i, cases[i].text);
    close_bench(&b);
}

/* ---- no memory ------------------------------------------------------------------------------------------------------------------- */

TEST(failing_allocations_end_clean_in_expansions_too)
{
    static const char text[] =
        "{" CONSTANT("1", "1.0") "," CONSTANT("2", "0.0") "," MASK("3", "0.5") "," MIX("4", "1", "2", "3") ","
        "'10':{'class_type':'TestForLoopOpen','inputs':{'remaining':2,'initial_value1':['4',0]}},"
        "'11':{'class_type':'TestVariadicAverage','inputs':{'input1':['10',2],'input2':['2',0]}},"
        "'13':{'class_type':'TestForLoopClose','inputs':{'flow_control':['10',0],'initial_value1':['11',0]}}," SLEEP("15", "13", "0.0") "," SEE("14", "15") "}";
    bool is_done = false;
    int n, n_refused = 0;

    for (n = 0; !is_done && n < 20000; n += n < 200 ? 1 : 7) {
        bench b = open_bench(rg_cache_new());
        int ret;

        rg_alloc_fail_after = n;
        ret = run(&b, text);
        is_done = rg_alloc_fail_after >= 0;
        rg_alloc_fail_after = -1;
        n_refused += ret != 0;
        if (ret && ret != RG_ERR_NOMEM && ret != -100)
            test_fail(__FILE__, __LINE__, "allocation %d: code %d, %s", n, ret, b.h.error);
        close_bench(&b);
    }
    printf("%d allocations, %d refused\n", n, n_refused);
    CHECK(is_done && n > 300 && n_refused > 50);
}
