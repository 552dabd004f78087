/* Prompts as people meet them: what is said about files that are no workflow, about everything wrong with one; --set. */
#include "graph/prompt.h"
#include "tests/graph/graph_test.h"

static const char *parse_error(rg_ctx *c, const char *text)
{
    rg_prompt *p = NULL;

    rg_ctx_reset(c);
    if (rg_prompt_parse(c, text, strlen(text), &p) == 0) {
        rg_prompt_free(p);
        return "";
    }
    return c->message;
}

TEST(what_is_no_workflow_is_told)
{
    rg_ctx *c = test_ctx();

    CHECK_STR(parse_error(c, "{}"), "");
    CHECK_STR(parse_error(c, "\xef\xbb\xbf{}"), "");            /* a byte order mark */
    CHECK_STR(parse_error(c, "{\"1\": }"), "not JSON: line 1, column 7: expected a value, found '}'");
    CHECK_STR(parse_error(c, "[]"), "a workflow is a JSON object of nodes, this is a list");
    CHECK_STR(parse_error(c, "7"), "a workflow is a JSON object of nodes, this is one value");
    CHECK_STR(parse_error(c, "{\"nodes\": [7], \"links\": [], \"version\": 0.4}"), "entry 0 of \"nodes\" is no node");
    CHECK_INT(c->error, RG_ERR_INVALID);
    CHECK_STR(parse_error(c, "{\"prompt\": {\"1\": {\"class_type\": \"X\"}}, \"client_id\": \"a\"}"),
              "this is the body of a request (\"prompt\" and more); the workflow is the value of its \"prompt\"");
    CHECK_STR(parse_error(c, ""), "not JSON: line 1, column 1: expected a value, found the end of the text");
    rg_ctx_free(c);
}

static void explain(rg_ctx *c, rg_env *env, const char *text, const char *wanted)
{
    rg_prompt *p = NULL;
    char *lines;
    int n = -1, n_lines = 0;

    if (rg_prompt_parse(c, text, strlen(text), &p) < 0) {
        test_fail(__FILE__, __LINE__, "%s", c->message);
        return;
    }
    lines = rg_prompt_explain(env, p, &n);
    if (strcmp(lines, wanted))
        test_fail(__FILE__, __LINE__, "said\n%swanted\n%s", lines, wanted);
    for (const char *s = lines; *s; s++)
        n_lines += *s == '\n';
    CHECK_INT(n, n_lines);
    rg_free(lines);
    rg_prompt_free(p);
}

TEST(everything_wrong_is_said_in_words)
{
    rg_ctx *c = test_ctx();
    rg_env *env;
    const char *folder = new_folder();
    char models[128], input[128], wanted[2048];

    snprintf(models, sizeof(models), "%s/models", folder);
    snprintf(input, sizeof(input), "%s/input", folder);
    touch(folder, "models/vae", "ae.safetensors");
    touch(folder, "input", "cat.png");
    env = rg_env_new((const char *const[]){ models }, 1, input, input);

    explain(c, env, "{}", "the workflow has no nodes\n");
    explain(c, env, "{\"1\": {\"class_type\": \"PrimitiveInt\", \"inputs\": {\"value\": 1}}}",
            "no node of the workflow saves or shows anything, so there is nothing to do; add SaveImage\n");
    explain(c, env, "{\"1\": {\"class_type\": \"PrimitiveInt\", \"inputs\": {\"value\": 1}}, \"2\": {\"class_type\": \"PreviewAny\", \"inputs\": {\"source\": [\"1\", 0]}}}", "");

    /* all unknown classes, each once, and what is wrong with the rest besides */
    explain(c, env,
            "{\"1\": {\"class_type\": \"KSamplr\", \"inputs\": {\"vae\": [\"4\", 0]}}, \"2\": {\"class_type\": \"KSamplr\"}, \"3\": {\"class_type\": \"ZZZZ\"},"
            " \"4\": {\"class_type\": \"VAELoader\", \"inputs\": {\"vae_name\": \"ae.safetensor\"}}, \"5\": 7, \"6\": {\"inputs\": {}}}",
            (snprintf(wanted, sizeof(wanted),
                      "node 1: there is no class KSamplr (nor for node 2); nearest: KSampler\n"
                      "node 3: there is no class ZZZZ\n"
                      "node 5: a node is an object with class_type and inputs\n"
                      "node 6: it has no class_type\n"
                      "node 4 (VAELoader), input vae_name: no file ae.safetensor in %s/vae; nearest: ae.safetensors\n", models), wanted));

    explain(c, env,
            "{\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 0, \"height\": \"x\", \"batch\": 1, \"color\": 16777216}, \"_meta\": {\"title\": \"White\"}},"
            " \"2\": {\"class_type\": \"ImageScale\", \"inputs\": {\"image\": [\"1\", 0], \"upscale_method\": \"bicubik\", \"width\": 8, \"height\": 8, \"crop\": 5}},"
            " \"3\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [\"2\", 0], \"image\": [\"2\", 0]}}}",
            "node 1 (EmptyImage \"White\"), input width: 0 is below the least allowed, 1\n"
            "node 1 (EmptyImage \"White\"), input height: 'x' does not do: invalid literal for int() with base 10: 'x'\n"
            "node 1 (EmptyImage \"White\"), input batch_size: is missing, EmptyImage wants INT; it has batch instead, which EmptyImage does not know\n"
            "node 1 (EmptyImage \"White\"), input color: 16777216 is above the most allowed, 16777215\n"
            "node 2 (ImageScale), input upscale_method: bicubik is not in its list; nearest: bicubic\n"
            "node 2 (ImageScale), input crop: wants a name, it got 5\n"
            "node 3 (PreviewImage), input image: PreviewImage has no such input; nearest: images\n");

    explain(c, env,
            "{\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"../cat.png\"}}, \"2\": {\"class_type\": \"ImageInvert\", \"inputs\": {\"image\": [\"9\", 0]}},"
            " \"3\": {\"class_type\": \"ImageBatch\", \"inputs\": {\"image1\": [\"1\", 2], \"image2\": [\"2\", 0]}}, \"4\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [\"3\", 0]}},"
            " \"5\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [\"1\", 1]}}, \"6\": {\"class_type\": \"PreviewImage\"}, \"7\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [1]}},"
            " \"8\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": \"x\"}}, \"10\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [\"2\", \"0\"]}}}",
            "node 3 (ImageBatch), input image1: is linked to output 2 of node 1 (LoadImage), which has 2\n"
            "node 5 (PreviewImage), input images: wants IMAGE, but node 1 (LoadImage) gives MASK\n"
            "node 6 (PreviewImage): it has no inputs object\n"
            "node 7 (PreviewImage), input images: a link is [\"node id\", output number], this is [1]\n"
            "node 8 (PreviewImage), input images: 'x' does not do: IMAGE comes only from another node, as [\"node id\", slot]\n"
            "node 10 (PreviewImage), input images: is linked to output '0' of node 2, but outputs are counted 0, 1, ...\n");

    explain(c, env,
            "{\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"kat.png\"}}, \"2\": {\"class_type\": \"ImageInvert\", \"inputs\": {\"image\": [\"9\", 0]}},"
            " \"3\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [\"2\", 0]}}, \"4\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [\"1\", 0]}},"
            " \"5\": {\"class_type\": \"ImageInvert\", \"inputs\": {\"image\": [\"6\", 0]}}, \"6\": {\"class_type\": \"ImageInvert\", \"inputs\": {\"image\": [\"5\", 0]}},"
            " \"7\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [\"6\", 0]}}}",
            (snprintf(wanted, sizeof(wanted),
                      "node 1 (LoadImage), input image: no file kat.png in %s; nearest: cat.png\n"
                      "node 2 (ImageInvert), input image: is linked to node 9, which is not in the workflow\n"
                      "node 5 (ImageInvert), input image: each of these nodes waits for the next: 6 (ImageInvert) -> 5 (ImageInvert) -> 6 (ImageInvert)\n",
                      input), wanted));
    remove_tree(folder);
    rg_env_free(env);
    rg_ctx_free(c);
}

TEST(inputs_can_be_set)
{
    static const char text[] = "{\"1\": {\"class_type\": \"PrimitiveString\", \"inputs\": {\"value\": \"a\"}},"
                               " \"2.5\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 1, \"height\": 1, \"batch_size\": 1, \"color\": 0}}, \"3\": {\"class_type\": \"Nope\", \"inputs\": {}}}";
    rg_ctx *c = test_ctx();
    rg_prompt *p = NULL;
    char *out;

    CHECK_INT(rg_prompt_parse(c, text, sizeof(text) - 1, &p), 0);
    CHECK_INT(rg_prompt_set(c, p, "1", "value", "7"), 0);                      /* a text is wanted: it stays one */
    CHECK_INT(rg_prompt_set(c, p, "2.5", "width", "18446744073709551615"), 0);
    CHECK_INT(rg_prompt_set(c, p, "2.5", "height", "[\"1\", 0]"), 0);
    CHECK_INT(rg_prompt_set(c, p, "2.5", "color", "red"), 0);
    CHECK_INT(rg_prompt_set(c, p, "3", "anything", "true"), 0);
    out = rg_json_dump(rg_prompt_json(p), 0);
    CHECK_STR(out, "{\"1\": {\"class_type\": \"PrimitiveString\", \"inputs\": {\"value\": \"7\"}}, \"2.5\": {\"class_type\": \"EmptyImage\", \"inputs\": "
              "{\"width\": 18446744073709551615, \"height\": [\"1\", 0], \"batch_size\": 1, \"color\": \"red\"}}, \"3\": {\"class_type\": \"Nope\", \"inputs\": {\"anything\": true}}}");
    rg_free(out);
    CHECK_INT(rg_prompt_set(c, p, "9", "value", "7"), RG_ERR_NOT_FOUND);
    CHECK_STR(c->message, "the workflow has no node 9 to set value of");
    rg_ctx_reset(c);
    CHECK_INT(rg_prompt_set(c, p, "1", "valu", "7"), RG_ERR_NOT_FOUND);
    CHECK_STR(c->message, "PrimitiveString (node 1) has no input valu");
    rg_prompt_free(p);
    rg_ctx_free(c);
}
