/* The program: a subcommand and its arguments. Each subcommand is a file in tools/cli. */
#include <stdio.h>
#include <string.h>

#include "tools/cli/cli.h"

static const struct {
    const char *name, *what;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "run", "run a workflow file or a template by name", rg_cli_run },
    { "models", "list model files and what they hold", rg_cli_models },
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *f)
{
    fprintf(f, "rylagraph " RG_VERSION ": runs ComfyUI workflows natively\n\nusage: rylagraph COMMAND [ARGUMENTS]\n\n");
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].what);
    fprintf(f, "\nrylagraph COMMAND --help tells more\n");
}

int main(int argc, char **argv)
{
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
