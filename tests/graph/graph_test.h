/* What the graph tests share: fixtures in JSON, and folders with the (empty) files that a fixture names. */
#ifndef RG_TESTS_GRAPH_TEST_H
#define RG_TESTS_GRAPH_TEST_H

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/env.h"
#include "graph/json_text.h"
#include "tests/test.h"

#define UNUSED_IN_SOME __attribute__((unused))

/* A fixture by name, or NULL after a SKIP message; json_object_put() it. */
static inline struct json_object *open_json(const char *name)
{
    struct json_object *o = NULL;
    char error[256];
    size_t n_bytes;
    char *text = test_read_file(test_path(name), &n_bytes);

    if (!text) {
        test_skip("no fixture %s", name);
        return NULL;
    }
    if (rg_json_read(text, n_bytes, 100, &o, error, sizeof(error)) < 0)
        test_fail(__FILE__, __LINE__, "%s: %s", name, error);
    free(text);
    return o;
}

static UNUSED_IN_SOME int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

/* Delete a folder with everything in it. */
static UNUSED_IN_SOME void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A new empty folder below the system's temporary one, in a static buffer. */
static UNUSED_IN_SOME const char *new_folder(void)
{
    static char path[64];

    strcpy(path, "/tmp/rylagraph-test-XXXXXX");
    if (!mkdtemp(path))
        test_fail(__FILE__, __LINE__, "cannot make a folder in /tmp");
    return path;
}

/* An empty file with the folders above it. */
static UNUSED_IN_SOME void touch(const char *folder, const char *place, const char *name)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s/%s", folder, place, name);
    for (char *p = path + strlen(folder) + 1; *p; p++) {
        if (*p == '/') {
            *p = '\0';
            mkdir(path, 0777);
            *p = '/';
        }
    }
    if ((f = fopen(path, "w")))
        fclose(f);
}

/* models, input and output of a fixture's "files" below folder, and an environment on them. */
static UNUSED_IN_SOME rg_env *env_of_files(struct json_object *fixture, const char *folder)
{
    struct json_object *files = json_object_object_get(fixture, "files");
    char models[128], input[128], output[128];

    json_object_object_foreach(files, place, names)
        for (size_t i = 0; i < json_object_array_length(names); i++)
            touch(folder, place, json_object_get_string(json_object_array_get_idx(names, i)));
    snprintf(models, sizeof(models), "%s/models", folder);
    snprintf(input, sizeof(input), "%s/input", folder);
    snprintf(output, sizeof(output), "%s/output", folder);
    return rg_env_new((const char *const[]){ models }, 1, input, output);
}

#endif
