/* The YAML of extra_model_paths.yaml. */
#include "engine/core/ctx.h"
#include "server/yaml.h"
#include "tests/test.h"

TEST(yaml_pairs)
{
    static const char text[] = "# comment\n---\na111: # the first\n    base_path: \"path/to/a b/\"   # where\n    is_default: true\n"
        "    loras: |\n        models/Lora\n\n        models/Ly#CORIS\n    vae: 'x: y'\n\ncomfy:\n  checkpoints:\n  - one\n  - two # second\n"
        "  clip: a#b\r\nempty:\n";
    static const char *const wanted[][3] = {
        { "a111", "base_path", "path/to/a b/" }, { "a111", "is_default", "true" }, { "a111", "loras", "models/Lora" },
        { "a111", "loras", "models/Ly#CORIS" }, { "a111", "vae", "x: y" }, { "comfy", "checkpoints", "one" },
        { "comfy", "checkpoints", "two" }, { "comfy", "clip", "a#b" },
    };
    rg_yaml_pair *pairs = NULL;
    char error[256] = "";
    const int n = rg_yaml_read(text, sizeof text - 1, &pairs, error, sizeof error);

    CHECK_INT(n, sizeof wanted / sizeof *wanted);
    CHECK_STR(error, "");
    for (int i = 0; i < n; i++) {
        CHECK_STR(pairs[i].section, wanted[i][0]);
        CHECK_STR(pairs[i].key, wanted[i][1]);
        CHECK_STR(pairs[i].value, wanted[i][2]);
    }
    rg_yaml_free(pairs);
    CHECK_INT(rg_yaml_read("", 0, &pairs, error, sizeof error), 0);
    rg_yaml_free(pairs);
}

TEST(yaml_errors)
{
    static const struct { const char *text, *error; } wrong[] = {
        { "a: b\n", "line 1: a value where a section was expected" }, { "  a: b\n", "line 1: an entry before the first section" },
        { "a:\n  b:\n    c: d\n", "line 3: entries inside of an entry" }, { "a:\n\tb: c\n", "line 2: a tab as indentation" },
        { "a:\n  b: [1, 2]\n", "line 2: a form of value that is not read here" }, { "a:\n  words\n", "line 2: neither \"key: value\" nor an item of a list" },
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        rg_yaml_pair *pairs;
        char error[256] = "";
        CHECK_INT(rg_yaml_read(wrong[i].text, strlen(wrong[i].text), &pairs, error, sizeof error), RG_ERR_FORMAT);
        CHECK_STR(error, wrong[i].error);
    }
}
