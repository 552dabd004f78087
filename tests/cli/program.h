/* Running the program from a C test: arguments go as they are, without a shell. */
#ifndef RG_TESTS_CLI_PROGRAM_H
#define RG_TESTS_CLI_PROGRAM_H

#include <fcntl.h>
#include <json-c/json.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

extern char **environ;

/* The program's path, or NULL after skipping the test: RG_PROGRAM, as ctest sets it. */
static inline const char *program_path(void)
{
    const char *path = getenv("RG_PROGRAM");

    if (path && access(path, X_OK) == 0)
        return path;
    test_skip("no program: set RG_PROGRAM to build/rylagraph");
    return NULL;
}

/* Run it; stdout goes to the file at out (NULL: nowhere), stderr stays ours. Returns the exit code, -1 if it ended by a signal. */
static inline int program_run(const char *path, const char *const *args, const char *out)
{
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status = -1;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out ? out : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (posix_spawn(&pid, path, &files, NULL, (char *const *)args, environ) != 0 || waitpid(pid, &status, 0) != pid)
        status = -1;
    posix_spawn_file_actions_destroy(&files);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A fresh folder, in a static buffer; program_clean() removes it. */
static inline const char *program_folder(void)
{
    static char folder[64];

    strcpy(folder, "/tmp/rylagraph-test-XXXXXX");
    return mkdtemp(folder);
}

static inline void program_clean(const char *folder)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0)
        fprintf(stderr, "%s is left behind\n", folder);
}

/* A member of a JSON object, or NULL. */
static inline struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    return json_object_object_get_ex(object, key, &value) ? value : NULL;
}

#endif
