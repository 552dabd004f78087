/* The program: a subcommand and its arguments. Each subcommand is a file in tools/cli. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/cli.h"

static const struct {
    const char *name, *what;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "run", "run a workflow file or a template by name", rg_cli_run },
    { "serve", "answer ComfyUI's API over HTTP and WebSocket", rg_cli_serve },
    { "check", "say everything that is wrong with a workflow, without running it", rg_cli_check },
    { "nodes", "list the node classes and what they take", rg_cli_nodes },
    { "models", "list model files and what they hold; fetch them", rg_cli_models },
    { "bench", "measure the ops against the ceiling of the device", rg_cli_bench },
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *f)
{
    fprintf(f, "rylagraph " RG_VERSION ": runs ComfyUI workflows natively\n\nusage: rylagraph COMMAND [ARGUMENTS]\n\n");
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].what);
    fprintf(f, "\nrylagraph COMMAND --help tells more\n");
}

/*
 * libgomp lets a thread that has finished its part spin for milliseconds before it sleeps. When another process has the core that
 * the others wait for, every op then lasts a time slice: measured on two busy cores, the demo picture takes 15 s instead of
 * 1.4 s. The count is read before main() runs, so it is set and the program starts itself again, once, within a millisecond.
 */
static void start_with_short_spins(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || setenv("GOMP_SPINCOUNT", "1000", 0) != 0)
        return;
    execv("/proc/self/exe", argv);      /* where that is not possible, it runs as it is */
}

int main(int argc, char **argv)
{
    start_with_short_spins(argv);
    if (argc < 2) {
        print_usage(stderr);
        return RG_EXIT_WRONG;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_usage(stdout);
        return RG_EXIT_DONE;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("rylagraph " RG_VERSION "\n");
        return RG_EXIT_DONE;
    }
    for (int i = 0; i < N_COMMANDS; i++) {
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 2, argv + 2);
    }
    rg_cli_say("no command \"%s\"", argv[1]);
    print_usage(stderr);
    return RG_EXIT_WRONG;
}
